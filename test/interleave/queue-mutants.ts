// Mistakes planted in reads by I/O workers, and in what streams wait for. They are hunted among the
// configurations of queues.ts.

import { REQUEST_DONE, REQUEST_FAILED } from "../../assembly/common/io-constants.ts";
import { PageIo } from "../../bindings/shared/page-io.ts";
import type { Routine } from "../../bindings/shared/routine.ts";
import { type Mutant, mutant, planted } from "./mutants.ts";

const SEEN_READING = `    const word = IoQueue.word(index);
    while (true) {
      const seen = Atomic.load(word);
      if (Atomic.swap(word, seen, (seen & ~REQUEST_PHASE_MASK) | REQUEST_READING)) return;
    }
`;

/** Mistakes in the queue. */
export const queueMutants: readonly Mutant[] = [
  {
    name: "a request is said to be read before its frames are handed over",
    patches: [
      { file: "buffer/ioqueue.ts", find: SEEN_READING, put: "" },
      {
        file: "buffer/ioqueue.ts",
        find: "    const requester = IoQueue.requester(index);\n    for",
        put: `    const requester = IoQueue.requester(index);\n${SEEN_READING.replace("return", "break")}    for`,
      },
    ],
  },
  mutant(
    "who submits does not look whether there is a worker",
    "buffer/ioqueue.ts",
    "    if (!IoQueue.isServed() && IoQueue.takeBack(word)) return ST_MISS;\n",
    "",
  ),
  mutant(
    "who submits looks for workers before it submits",
    "buffer/ioqueue.ts",
    "    Atomic.store(word, REQUEST_SUBMITTED);\n    if (!IoQueue.isServed() && IoQueue.takeBack(word)) return ST_MISS;\n",
    "    if (!IoQueue.isServed()) return ST_MISS;\n    Atomic.store(word, REQUEST_SUBMITTED);\n",
  ),
  mutant(
    "who submits wakes no worker",
    "buffer/ioqueue.ts",
    "Atomic.load(IoQueue.idleAddress()) != 0 && Atomic.exchange(IoQueue.idleAddress(), 0) != 0",
    "Atomic.load(IoQueue.idleAddress()) != 0 && Atomic.exchange(IoQueue.idleAddress(), 0) == 7",
  ),
  mutant(
    "an idle worker does not look again before it sleeps",
    "buffer/ioqueue.ts",
    "    if (IoQueue.oldest() >= 0) return ST_OK;\n    return Sleep.register(idle",
    "    return Sleep.register(idle",
  ),
  mutant(
    "an idle worker says so after its last look",
    "buffer/ioqueue.ts",
    "    Atomic.store(idle, 1);\n    if (IoQueue.oldest() >= 0) return ST_OK;\n",
    "    if (IoQueue.oldest() >= 0) return ST_OK;\n    Atomic.store(idle, 1);\n",
  ),
  {
    name: "the reaper does not wait for a worker that takes over frames of the dead",
    patches: [
      {
        file: "buffer/ioqueue.ts",
        find: "      if (phase == REQUEST_HANDING) return phase;\n",
        put: "",
      },
      {
        file: "buffer/ioqueue.ts",
        find: "const next: u32 = phase == REQUEST_READING ?",
        put: "const next: u32 = phase == REQUEST_READING || phase == REQUEST_HANDING ?",
      },
      {
        file: "buffer/ioqueue.ts",
        find: "      if (phase == REQUEST_HANDING) return ST_BUSY;\n",
        put: "",
      },
    ],
  },
  mutant(
    "the request of a dead requester stays where it was submitted",
    "buffer/ioqueue.ts",
    "const next: u32 = phase == REQUEST_READING ? seen | REQUEST_ORPHAN : REQUEST_FREE;",
    "const next: u32 = phase == REQUEST_READING || phase == REQUEST_SUBMITTED ? seen | REQUEST_ORPHAN : REQUEST_FREE;",
  ),
  mutant(
    "a request that nobody waits for is not freed",
    "buffer/ioqueue.ts",
    "const next: u32 = (seen & REQUEST_ORPHAN) != 0 ? REQUEST_FREE : phase;",
    "const next: u32 = phase;",
  ),
  mutant(
    "the last worker's death ends no request that was only submitted",
    "buffer/ioqueue.ts",
    "      if (left) Atomic.swap(word, REQUEST_SUBMITTED, REQUEST_HANDING | (dead + 1));\n",
    "      if (left && dead == 0x7fffffff) continue;\n",
  ),
  mutant(
    "a dead worker's request is not told to have failed",
    "buffer/ioqueue.ts",
    "      IoQueue.letGo(index, dead);\n      IoQueue.tell(index, REQUEST_FAILED);",
    "      IoQueue.letGo(index, dead);",
  ),
  mutant(
    "frames that a dead worker had still to take over are not let go",
    "buffer/ioqueue.ts",
    "if (owner == dead + 1 || (handing && owner == IoQueue.requester(index))) {",
    "if (owner == dead + 1) {",
  ),
  mutant(
    "a request tells its end before its reads are ended",
    "buffer/ioqueue.ts",
    "    const request = IoQueue.request(index);\n    for (let page: u32 = 0; page < request.count; ++page) {\n      BufferIo.finishRead(request.getBuffer(page), good);\n    }\n    IoQueue.tell(index, good ? REQUEST_DONE : REQUEST_FAILED);",
    "    const request = IoQueue.request(index);\n    IoQueue.tell(index, good ? REQUEST_DONE : REQUEST_FAILED);\n    for (let page: u32 = 0; page < request.count; ++page) {\n      BufferIo.finishRead(request.getBuffer(page), good);\n    }",
  ),
  mutant(
    "who waits for a request is not woken",
    "buffer/ioqueue.ts",
    "if (Atomic.swap(word, seen, next)) break;\n    }\n    Atomic.notifyAll(word);",
    "if (Atomic.swap(word, seen, next)) break;\n    }",
  ),
  mutant(
    "who waits no longer frees a request that a worker has",
    "buffer/ioqueue.ts",
    "if (Atomic.swap(word, seen, seen | REQUEST_ORPHAN)) return ST_OK;",
    "if (Atomic.swap(word, seen, REQUEST_FREE)) return ST_OK;",
  ),
  planted("who waits no longer does not end the reads that it took back", {
    exports: (x) => ({ ...x, forsakeRequest: (request) => Math.max(0, x.forsakeRequest(request)) }),
  }),
  planted("a request that failed is taken for one that is done", {
    exports: (x) => ({
      ...x,
      awaitRequest: (request) => {
        const fate = x.awaitRequest(request);
        return fate === REQUEST_FAILED ? REQUEST_DONE : fate;
      },
    }),
  }),
];

/** Mistakes in reading ahead. */
export const streamMutants: readonly Mutant[] = [
  planted("a stream does not wait for a page that another backend reads", {
    pageIo: (parts) => new HastyIo(parts),
  }),
  planted("a stream takes a neighbour's dirty frame without having it written", {
    exports: (x) => ({ ...x, finishWrite: (buffer) => x.finishWrite(buffer, 1) }),
  }),
];

class HastyIo extends PageIo {
  // biome-ignore lint/correctness/useYield: a routine that does not wait is the mistake
  override *arrive(buffer: number): Routine<number> {
    return buffer;
  }
}
