"""Mistakes as programmers make them: each must be caught by the tests that `make test` runs.

`@` is a file under lab/; after `<` come the files or folders under tests/ that should catch the
faults below it, the quickest first. `#` is the name of a fault. `-` is a text that occurs in the
file exactly once, and `+` its replacement; `~` has both on one line. A part of a line is enough;
consecutive lines form one text.
"""

from typing import NamedTuple


class SourceMutation(NamedTuple):
    name: str
    file: str
    tests: tuple[str, ...]
    old: str
    new: str


_TABLE = """
@ service/store.py < service/test_store.py
# a write is acknowledged before the disk has it
~"PRAGMA synchronous = FULL" → "PRAGMA synchronous = NORMAL"
# a transaction that broke is passed over in silence
-                    self._writer.execute("ROLLBACK")
-                raise
+                    self._writer.execute("ROLLBACK")
# what came of a broken transaction is committed
~self._writer.execute("ROLLBACK") → self._writer.execute("COMMIT")
# an id that was heard before counts as new
~INSERT OR IGNORE INTO heard_ids → INSERT OR REPLACE INTO heard_ids
# a reader goes on seeing the database as it was
~"PRAGMA query_only = ON" → "BEGIN"
@ service/store.py < async_bus/test_one_step.py
# the newest event is told first
~number > ? ORDER BY number LIMIT ? → number > ? ORDER BY number DESC LIMIT ?
@ async_bus/outbox.py < async_bus/test_one_step.py
# of several events only the first is told
~= await self._bus.append(envelopes) → = await self._bus.append(envelopes[:1]) * len(envelopes)
# what the bus has refused counts as told
-        sequences = await self._bus.append(envelopes)
+        self.published_up_to = unpublished[-1][0]
+        sequences = await self._bus.append(envelopes)
# an event is told under a new id each time
-        sequences = await self._bus.append(envelopes)
+        again = [{**Envelope.from_json(one).model_dump(), "id": f"{id(one)}"} for one in envelopes]
+        sequences = await self._bus.append([Envelope(**one).model_dump_json() for one in again])
@ async_bus/inbox.py < async_bus/test_one_step.py
# the offset is noted before the rows
-                with self._store.transaction() as change:
-                    consumed = self._insert_unseen(consumed, change)
+                with self._store.transaction() as change:
+                    change.set_offset(sequence, cursor)
+                with self._store.transaction() as change:
+                    consumed = self._insert_unseen(consumed, change)
# the offset is noted after the rows
-                    if self._dedupe:
-                        change.set_offset(sequence, cursor)
+                with self._store.transaction() as change:
+                    if self._dedupe:
+                        change.set_offset(sequence, cursor)
# a gap in the events is passed over
~expected if envelope.sequence == number] → expected if envelope.sequence >= number]
@ async_bus/comments.py < async_bus/test_services.py
# a comment is told in a transaction of its own
-        change.tell(CommentCreated(**comment.model_dump()))
-        service.remember_answer(change, comment)
+        service.remember_answer(change, comment)
+    with service.store.transaction() as change:
+        change.tell(CommentCreated(**comment.model_dump()))
# comments forget the verdict
-    change.execute(update, verdict.status, verdict.id)
@ async_bus/moderation.py < async_bus/test_services.py
# moderation records another verdict than it tells
~INSERT, comment.content, status) → INSERT, comment.content, "approved")
@ async_bus/query.py < async_bus/test_services.py
# the feed never hears of updates
~@service.on(CommentCreated, CommentUpdated) → @service.on(CommentCreated)
# the feed keeps the older status of a comment
~SET status = excluded.status → SET status = comments.status
# the feed shows the newest comment first
~IN ({placeholders}) ORDER BY id" → IN ({placeholders}) ORDER BY id DESC"
@ domain/model.py < async_bus/test_services.py
# the feed leaves out rejected comments
-        by_post.setdefault(comment.post_id, []).append(comment)
+        if comment.status != "rejected":
+            by_post.setdefault(comment.post_id, []).append(comment)
@ domain/events.py < async_bus/test_services.py
# an update is an event that nobody knows
~CommentModerated, CommentUpdated) → CommentModerated)
@ domain/model.py < domain/test_model.py
# two ids of the same microsecond have no order
~max(_last_microsecond + 1, clock.time_ns() // 1_000) → clock.time_ns() // 1_000
@ domain/errors.py < sync_chain/test_ask.py
# a timeout is told as a sure refusal
~super().__init__(detail, definite=False) → super().__init__(detail, definite=True)
@ sync_chain/resilience/retries.py < sync_chain/test_resilience.py
# a question is asked once more than it may be
~left = self._retries → left = self._retries + 1
@ sync_chain/resilience/fallback.py < sync_chain/test_resilience.py
# a feed without comments does not say so
-            http.mark_degraded(callee)
@ sync_chain/comments.py < sync_chain/test_services.py
# a comment is judged before its post is known
-    learn_post(post_id)
-    status = moderate(draft)
+    status = moderate(draft)
+    learn_post(post_id)
# a comment that nobody could judge is kept
-    status = moderate(draft)
+    try:
+        status = moderate(draft)
+    except Exception:
+        status = "pending"
@ sync_chain/posts.py < sync_chain/test_services.py
# a post sent again under its key is kept twice
-        service.remember_answer(change, post)
@ bus/log/server.py < bus/test_log_groups.py
# the log leaves out the oldest event in memory
~start = len(self._lines) - count → start = len(self._lines) - count + 1
# the log acknowledges before it has committed
~sequences = await committed → sequences = [self._head + n for n, _ in enumerate(envelopes, 1)]
# the log keeps a group backwards
~for envelopes, _ in group for envelope → for envelopes, _ in reversed(group) for envelope
@ bus/log/storage.py < bus/test_log_groups.py
# the log forgets which ids it holds
~TEXT NOT NULL UNIQUE, → TEXT NOT NULL,
@ bus/course/client.py < bus/test_course.py
# a batch that broke off is told again from its beginning
-                self._sent_ids.add(envelope.id)
# an event that was not applied is answered as if it were
~applied.set_result(False) → applied.set_result(True)
@ experiment/checker.py < experiment/test_checker.py
# lost is what the feed does not show
~acknowledged if not stored.by_owner[ → acknowledged if not stored.in_feed[
# what was never sent is judged as a write
~if sample.endpoint in WRITES and not sample.dropped] → if sample.endpoint in WRITES]
# refused but kept is counted of the unknown ones
~(copies(sample) > 0 for sample in refused) → (copies(sample) > 0 for sample in unknown)
# a comment judged twice is no duplicate
-            or stored.by_moderation[sample.token] > 1
@ experiment/checker.py < experiment/test_checker_order.py
# a write counts as over when it was sent
~write.intended_s + (write.latency_ms or 0.0) / 1_000 → write.intended_s
@ load/schedule.py < load/test_surge.py
# what is left of a gap keeps its old rate
~remaining_gaps -= (until_s - at_s) * current_rate → remaining_gaps -= until_s - at_s
@ load/sender.py < load/test_generator.py
# latency counts from the moment of sending
~- sample.intended_s) * 1000 → - sample.intended_s) * 1000 - sample.lag_ms
@ load/metrics.py < load/test_metrics.py
# a percentile is the value nearest to its place
~max(1, ceil(percent / 100 * len(values))) - 1 → round(percent / 100 * (len(values) - 1))
# failures count as fast answers
~figures([s.latency_ms for s in good if → figures([s.latency_ms for s in sent if
@ experiment/recovery.py < experiment/test_recovery.py
# recovered is who was good ten times, not in a row
-            streak.clear()
@ load/visibility.py < load/test_watcher.py
# a pending comment counts as visible
~_DECIDED = ("approved", "rejected") → _DECIDED = ("approved", "rejected", "pending")
@ load/samples.py < load/test_metrics.py
# what was false in a sample is read as true
~"bool": lambda text: bool(int(text)), → "bool": bool,
@ load/continuous.py < load/test_continuous.py
# a wish for no load at all is passed over
~= self.rate if change.rate is None else change.rate → = change.rate or self.rate
@ load/anomalies.py < load/test_stale.py
# a feed that was requested before the 201 is stale
~if write.acknowledged_at_s >= sent_at_s or write. → if write.
@ load/content.py < load/test_content.py
# a comment under another post is shown rightly
-                or post_id != sample.post_id
@ experiment/content.py < experiment/test_checker_content.py
# a copy with another text is as good
~if copy.text not in ("", sample.text) → if not copy.text
# any verdict is right
~if copy.status not in ("", PENDING, right_verdict(sample.text)) → if copy.status == "unknown"
# what was never sent is no phantom
~if copy.token not in sent_tokens: → if not sent_tokens:
@ report/tables.py < report/test_columns.py
# the row of duplicates shows another count
~"duplicated", lambda counts: counts.duplicated → "duplicated", lambda counts: counts.diverged
# the column p95 shows the p90
~if tail == "p99" else latency.p95) → if tail == "p99" else latency.p90)
# every phase shows the figures of the first one
~figures(find_endpoint(variant, phase, name)) → figures(find_endpoint(variant, phases[0], name))
@ report/terminal/compare.py < report/test_compare.py
# two runs are compared by the inverted ratio
~{b / a:.2f} → {a / b:.2f}
@ experiment/differences.py < experiment/test_verdicts.py experiment/test_statistics.py
# slower is called faster
~return "slower" → return "faster"
# a difference is claimed though its interval holds 1
~if low > 1 + floor.share: → if high > 1 + floor.share:
@ experiment/statistics.py < experiment/test_statistics.py
# few blocks of time are as sure as many
~students_t(confidence, len(blocks) - 1) * error → students_t(confidence, 1_000) * error
@ experiment/evaluate.py < experiment/test_verdicts.py
# what was not measured holds
~None: "not measured"} → None: "holds"}
@ faults/filter.py < faults/test_filter.py
# a fault hits everybody whatever its probability
~if self.fault.probability < 1 and → if self.fault.probability <= 0 and
# a fault hits one more than the first few
~self.hit_count >= self.fault.first → self.hit_count > self.fault.first
# a fault that was taken off goes on
~active = self._active.pop(name, None) → active = self._active.get(name)
@ cluster/injector.py < cluster/test_proof.py
# a fault that hit nobody is proved to have acted
~self.acted = evidence["acted"] > 0 → self.acted = evidence["acted"] >= 0
@ cluster/process_tree.py < cluster/test_leftovers.py
# a process left behind is taken for that of a younger lab
~if identity in ("", actual_identity): → if identity:
"""


def _faults(table: str) -> list[SourceMutation]:
    found = []
    for group in table.split("\n@ ")[1:]:
        head, *blocks = group.split("\n# ")
        file, tests = head.split(" < ")
        for name, *lines in (block.strip("\n").split("\n") for block in blocks):
            old, new = ("\n".join(one[1:] for one in lines if one[0] == sign) for sign in "-+")
            if lines[0].startswith("~"):
                old, new = lines[0][1:].split(" → ")
            found.append(SourceMutation(name, file, tuple(tests.split()), old, new))
    return found


FAULTS = _faults(_TABLE)
