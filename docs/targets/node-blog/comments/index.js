// Comments by the post they belong to. A new one is pending until moderation has seen it.
const { randomBytes } = require('crypto');
const { serve, post } = require('../web');

const commentsByPost = {};

const tell = (type, data) => post('http://localhost:4005/events', { type, data });

serve(process.env.PORT || 4001, {
  'GET /posts/:id/comments': ({ params }) => [200, commentsByPost[params.id] || []],
  'POST /posts/:id/comments': async ({ params, body }) => {
    const comments = (commentsByPost[params.id] ||= []);
    const comment = { id: randomBytes(4).toString('hex'), content: body.content, status: 'pending' };
    comments.push(comment);
    await tell('CommentCreated', { ...comment, postId: params.id });
    return [201, comments];
  },
  'POST /events': async ({ body: { type, data } }) => {
    if (type === 'CommentModerated') {
      const comment = (commentsByPost[data.postId] || []).find((one) => one.id === data.id);
      if (comment) {
        comment.status = data.status;
        await tell('CommentUpdated', data);
      }
    }
    return [200, {}];
  },
});
