// Configurations in which reads go through the queue to I/O workers, and those of read streams. The
// workers are the first backends: `a` of a schedule, or `a` and `b`.

import { type Configuration, clean, dirty, hit, miss, type Page } from "./configurations.ts";
import {
  type Act,
  attaching,
  changing,
  evicting,
  inTurn,
  leaving,
  pinning,
  reading,
} from "./operations.ts";
import {
  detaching,
  disposing,
  failingWorker,
  givingUp,
  prewarming,
  readingAfter,
  streaming,
  streamingPast,
  worker,
} from "./reading-ahead.ts";
import type { Script } from "./steps.ts";

const two: readonly Page[] = [clean(hit), clean(1)];

function queue(
  name: string,
  buffers: number,
  workers: readonly Script[],
  ...acts: readonly (readonly Act[])[]
): Configuration {
  const pages = two.slice(0, buffers - 1);
  return { name: `queue: ${name}`, buffers, pages, workers, backends: acts.map(together) };
}

function together(acts: readonly Act[]): Script {
  return inTurn(...acts);
}

const ahead = { full: true, sequential: true };

/** One requester and one worker: short enough for two stops and a death. */
export const queuedSingles: readonly Configuration[] = [
  queue("miss", 1, [worker], [pinning(miss)]),
  queue("run", 2, [worker], [streaming(miss, 4, ahead)]),
  queue("miss, failing", 1, [failingWorker], [pinning(miss)]),
  queue("give up", 1, [worker], [givingUp(miss)]),
  queue("give up, miss", 1, [worker], [givingUp(miss), readingAfter(miss)]),
  queue("detach", 1, [worker], [detaching(miss)]),
  queue("detach, attach, miss", 1, [worker], [detaching(miss), attaching(), pinning(miss)]),
];

/** Several of them. */
export const queued: readonly Configuration[] = [
  queue("miss + miss", 2, [worker], [reading(miss)], [reading(miss)]),
  queue("miss + other miss", 2, [worker], [reading(miss)], [reading(3)]),
  queue("miss + miss, failing", 2, [failingWorker], [reading(miss)], [reading(miss)]),
  queue("give up + miss", 2, [worker], [givingUp(miss)], [reading(miss)]),
  queue("give up + give up", 2, [worker], [givingUp(miss)], [givingUp(3)]),
  queue("run + miss", 3, [worker], [streaming(miss, 4, ahead)], [reading(3)]),
  queue("run + miss, failing", 3, [failingWorker], [streaming(miss, 4, ahead)], [reading(3)]),
  queue("detach + miss", 2, [worker], [detaching(miss)], [reading(miss)]),
  queue(
    "run + reattach",
    3,
    [worker],
    [streaming(miss, 4, ahead)],
    [leaving(), attaching(), reading(miss)],
  ),
  queue("miss, two workers", 2, [worker, worker], [reading(miss)]),
  queue("run, good and failing", 2, [worker, failingWorker], [streaming(miss, 4, ahead)]),
];

function stream(name: string, pages: readonly Page[], ...acts: readonly Act[]): Configuration {
  const backends = acts.map((act) => inTurn(act));
  return { name: `stream: ${name}`, buffers: 3, pages, backends };
}

const mixed: readonly Page[] = [clean(1), dirty(hit)];

/** A stream over three blocks while another backend does something. */
export const streams: readonly Configuration[] = [
  stream("stream + pin", mixed, streaming(1, 4, ahead), pinning(3)),
  stream("stream + read", two, streaming(1, 4, ahead), reading(miss)),
  stream("stream + evict", mixed, streaming(1, 4, ahead), evicting(0)),
  stream("stream + change", mixed, streaming(0, 3, ahead), changing(miss)),
  stream("stream + stream", mixed, streaming(1, 4, ahead), streaming(0, 3, ahead)),
  stream("hinted stream + read", two, streaming(1, 4), reading(miss)),
  stream("refused + read", mixed, streamingPast(2, 4), reading(3)),
  stream("disposed + read", mixed, disposing(1, 4), reading(3)),
  stream("prewarm + read", mixed, prewarming("buffer", 1, 4), reading(miss)),
  stream("prewarm past the pool + change", mixed, prewarming("read", 0, 2), changing(hit)),
];
