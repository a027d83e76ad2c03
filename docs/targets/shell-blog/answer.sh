#!/bin/sh
# One request comes in, one answer goes out.
# Texts stay as JSON has them, with all their backslashes, from the request to the answer.

answer() { # STATUS JSON
    printf 'HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %s\r\nConnection: close\r\n\r\n%s' \
        "$1" "$(printf %s "$2" | wc -c | tr -d ' ')" "$2"
}

field() { # NAME: the text that it has in the body
    printf %s "$body" | sed -nE "s/.*\"$1\" *: *\"(([^\"\\\\]|\\\\.)*)\".*/\1/p"
}

read -r method path _ || exit 0
length=0
cr=$(printf '\r')
while read -r line; do
    line=${line%"$cr"}
    case $line in
    '') break ;;
    [Cc]ontent-[Ll]ength:*) length=${line#*: } ;;
    esac
done
body=$(head -c "$length")
id=$$-$(date +%s)

case "$method ${path%%\?*}" in
'POST /posts')
    title=$(field title)
    if [ -z "$title" ]; then
        answer '400 Bad Request' '{"error": "title is missing"}'
    else
        printf '%s\t%s\n' "$id" "$title" >>"$DATA/posts"
        answer '201 Created' "{\"id\": \"$id\", \"title\": \"$title\"}"
    fi
    ;;
'POST /posts/'*'/comments')
    post=${path#/posts/}
    post=${post%/comments}
    content=$(field content)
    status=approved
    case $content in *orange*) status=rejected ;; esac
    if ! cut -f1 "$DATA/posts" | grep -qxF -- "$post"; then
        answer '404 Not Found' '{"error": "no such post"}'
    else
        printf '%s\t%s\t%s\t%s\n' "$id" "$post" "$status" "$content" >>"$DATA/comments"
        answer '201 Created' "{\"id\": \"$id\", \"content\": \"$content\", \"status\": \"$status\"}"
    fi
    ;;
'GET /posts')
    feed=$(awk -F '\t' '
        comments {
            comment = "{\"id\": \"" $1 "\", \"content\": \"" $4 "\", \"status\": \"" $3 "\"}"
            of[$2] = of[$2] (of[$2] ? ", " : "") comment
            next
        }
        { printf "%s{\"id\": \"%s\", \"title\": \"%s\", \"comments\": [%s]}", comma, $1, $2, of[$1]; comma = ", " }
    ' comments=1 "$DATA/comments" comments= "$DATA/posts")
    answer '200 OK' "[$feed]"
    ;;
*)
    answer '404 Not Found' '{"error": "no such route"}'
    ;;
esac
