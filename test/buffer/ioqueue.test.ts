// Requests to I/O workers, one call at a time: who owns a frame from its request to its end, and
// that a death on either side leaves nothing behind and takes nothing from the other.

import { describe, expect, it } from "vitest";
import {
  BACKEND_IO_WORKER,
  IN_PROGRESS,
  NEED_READ,
  OWNER_MASK,
  PART_IO_QUEUE,
  PART_SLOTS,
  SLOT_BYTES,
  SLOT_SLEEP_VALUE_OFFSET,
  SLOT_SLEEPING_ON_OFFSET,
  ST_BUSY,
  ST_MISS,
  ST_OK,
  ST_SELF,
  ST_WAIT,
  STATE_IO,
  STATE_IO_ERROR,
  STATE_VALID,
} from "../../assembly/common/constants.ts";
import {
  IO_QUEUE_HEADER_BYTES,
  IO_REQUESTS,
  REQUEST_DONE,
  REQUEST_FAILED,
  REQUEST_FREE,
  REQUEST_HANDING,
  REQUEST_SUBMITTED,
} from "../../assembly/common/io-constants.ts";
import { partOf } from "../../bindings/shared/statistics.ts";
import { builds, RawRegion } from "../support/region.ts";

const FILE = 16384 << 2;
/** Slots of the tests: two who ask, two who read. */
const [A, B, W, V] = [1, 2, 3, 4];

function region(checked: boolean, workers: readonly number[] = [W]): RawRegion {
  const made = new RawRegion({ checked, backends: 4, queue: true, checksums: true });
  for (const worker of workers) made.backend(worker).setKind(BACKEND_IO_WORKER);
  return made;
}

/** Frames of consecutive blocks, pinned, whose reads a backend has taken on. */
function frames(of: RawRegion, slot: number, block: number, count = 1): number[] {
  return Array.from({ length: count }, (_, index) => {
    const found = of.backend(slot).install(of.victim(slot), FILE, block + index, 0);
    expect(found & NEED_READ).toBe(NEED_READ);
    return found & ~NEED_READ;
  });
}

function submit(of: RawRegion, slot: number, block: number, buffers: readonly number[]): number {
  const x = of.backend(slot);
  const request = x.beginRequest(FILE, block);
  for (const buffer of buffers) x.addToRequest(request, buffer);
  expect(x.submitRequest(request)).toBe(ST_OK);
  return request;
}

function ownerOf(of: RawRegion, buffer: number): number {
  return of.backend(0).stateOf(buffer) & OWNER_MASK;
}

/** State words of all requests. */
function words(of: RawRegion): Uint32Array {
  const { off } = partOf(of.memory.buffer as SharedArrayBuffer, PART_IO_QUEUE);
  return new Uint32Array(of.memory.buffer, off + IO_QUEUE_HEADER_BYTES, 5 * IO_REQUESTS);
}

/** The word that a backend has registered to sleep on, and its value. */
function asleepOn(of: RawRegion, slot: number): [word: number, value: number] {
  const { buffer } = of.memory;
  const { off } = partOf(buffer as SharedArrayBuffer, PART_SLOTS);
  const view = new DataView(buffer, off + slot * SLOT_BYTES);
  const at = (offset: number): number => view.getUint32(offset, true);
  return [at(SLOT_SLEEPING_ON_OFFSET), at(SLOT_SLEEP_VALUE_OFFSET)];
}

function expectNothingLeft(of: RawRegion): void {
  expect(of.residue()).toEqual([]);
  expect([...words(of)].every((word) => word === REQUEST_FREE)).toBe(true);
}

describe.each(builds)("%s build", (_, checked) => {
  it("a worker that takes a request owns its frames until it has ended their reads", () => {
    const of = region(checked);
    const buffers = frames(of, A, 7, 3);
    const request = submit(of, A, 7, buffers);
    expect(buffers.map((buffer) => ownerOf(of, buffer))).toEqual([A + 1, A + 1, A + 1]);
    expect(of.backend(A).awaitRequest(request)).toBe(ST_WAIT);
    const worker = of.backend(W);
    expect(worker.takeRequest()).toBe(request);
    expect(buffers.map((buffer) => ownerOf(of, buffer))).toEqual([W + 1, W + 1, W + 1]);
    expect([worker.requestFile(request), worker.requestBlock(request)]).toEqual([FILE, 7]);
    expect(worker.requestPages(request)).toBe(3);
    expect([0, 1, 2].map((index) => worker.requestBuffer(request, index))).toEqual(buffers);
    for (const buffer of buffers) of.fill(buffer);
    expect(worker.endRequest(request, 1)).toBe(1);
    for (const buffer of buffers) {
      const state = of.backend(0).stateOf(buffer);
      expect(state & (STATE_VALID | STATE_IO | OWNER_MASK)).toBe(STATE_VALID);
      of.backend(A).unpin(buffer);
    }
    expect(of.backend(A).awaitRequest(request)).toBe(REQUEST_DONE);
    expectNothingLeft(of);
  });

  it("the request that has waited longest is taken first, whatever slot it is of", () => {
    const of = region(checked);
    const order = [B, A, B, A].map((slot, index) => {
      return submit(of, slot, index, frames(of, slot, index));
    });
    expect(order.map(() => of.backend(W).takeRequest())).toEqual(order);
    expect(of.backend(W).takeRequest()).toBe(ST_MISS);
  });

  it("a page that is none fails the whole request, and the requester takes its frames again", () => {
    const of = region(checked);
    const buffers = frames(of, A, 7, 2);
    const request = submit(of, A, 7, buffers);
    of.backend(W).takeRequest();
    for (const buffer of buffers) of.fill(buffer);
    of.frame(buffers[1] ?? 0).fill(0x55);
    expect(of.backend(W).endRequest(request, 1)).toBe(0);
    expect(of.backend(A).awaitRequest(request)).toBe(REQUEST_FAILED);
    for (const buffer of buffers) {
      expect(of.backend(0).stateOf(buffer) & (STATE_VALID | STATE_IO_ERROR)).toBe(STATE_IO_ERROR);
      expect(of.backend(A).ensureValid(buffer, 0)).toBe(buffer | NEED_READ);
      of.backend(A).finishRead(buffer, 0);
      of.backend(A).unpin(buffer);
    }
    expectNothingLeft(of);
  });

  it("without a worker nothing is submitted, and with sixteen under way there is no other", () => {
    const alone = region(checked, []);
    const x = alone.backend(A);
    expect(x.beginRequest(FILE, 0)).toBe(ST_MISS);
    // The last one may go between two calls.
    const [buffer = 0] = frames(alone, A, 0);
    alone.backend(W).setKind(BACKEND_IO_WORKER);
    const request = x.beginRequest(FILE, 0);
    x.addToRequest(request, buffer);
    alone.kill(W);
    expect(x.submitRequest(request)).toBe(ST_MISS);
    expect(words(alone)[request]).toBe(REQUEST_FREE);
    expect(ownerOf(alone, buffer)).toBe(A + 1);
    const full = region(checked);
    // All over one frame: what counts here is how many there are.
    const buffers = frames(full, A, 0);
    for (let turn = 0; turn < IO_REQUESTS; turn += 1) submit(full, A, 0, buffers);
    expect(full.backend(A).beginRequest(FILE, 0)).toBe(ST_MISS);
    const sync = new RawRegion({ checked });
    expect(sync.backend(A).beginRequest(FILE, 0)).toBe(ST_MISS);
  });

  it("an idle worker sleeps only while nothing waits", () => {
    const of = region(checked);
    expect(of.backend(W).awaitWork()).toBe(ST_WAIT);
    const request = submit(of, A, 0, frames(of, A, 0));
    expect(of.backend(W).awaitWork()).toBe(ST_OK);
    expect(of.backend(W).takeRequest()).toBe(request);
    expect(of.backend(W).awaitWork()).toBe(ST_WAIT);
  });

  it("a page that its own backend has asked for is waited for like anybody's, not refused", () => {
    const of = region(checked);
    const [buffer = 0, other = 0] = frames(of, A, 0, 2);
    const x = of.backend(A);
    // A read of one's own, in another task.
    expect(x.ensureValid(other, 0)).toBe(ST_SELF);
    const request = submit(of, A, 0, [buffer]);
    const word = words(of).byteOffset + request * 4;
    expect(x.pinMapped(FILE, 0, 0)).toBe(buffer | IN_PROGRESS);
    expect(asleepOn(of, A)).toEqual([word, REQUEST_SUBMITTED]);
    words(of)[request] = REQUEST_HANDING | (W + 1);
    expect(x.ensureValid(buffer, 0)).toBe(buffer | IN_PROGRESS);
    expect(asleepOn(of, A)).toEqual([word, REQUEST_HANDING | (W + 1)]);
    words(of)[request] = REQUEST_SUBMITTED;
    of.backend(W).takeRequest();
    expect(x.ensureValid(buffer, 0)).toBe(buffer | IN_PROGRESS);
    expect(asleepOn(of, A)[0]).not.toBe(word);
    of.fill(buffer);
    of.backend(W).endRequest(request, 1);
    expect(x.ensureValid(buffer, 0)).toBe(buffer);
    expect(x.awaitRequest(request)).toBe(REQUEST_DONE);
    x.finishRead(other, 0);
    for (const each of [buffer, buffer, other]) x.unpin(each);
    expectNothingLeft(of);
  });

  it("who waits no longer keeps frames that nobody took, and leaves the others to the worker", () => {
    const of = region(checked);
    const [kept = 0] = frames(of, A, 0);
    expect(of.backend(A).forsakeRequest(submit(of, A, 0, [kept]))).toBe(ST_MISS);
    expect(ownerOf(of, kept)).toBe(A + 1);
    const [left = 0] = frames(of, A, 1);
    const request = submit(of, A, 1, [left]);
    of.backend(W).takeRequest();
    expect(of.backend(A).forsakeRequest(request)).toBe(0);
    of.backend(A).finishRead(kept, 0);
    for (const buffer of [kept, left]) of.backend(A).unpin(buffer);
    of.fill(left);
    of.backend(W).endRequest(request, 1);
    expect(of.pin(B, FILE, 1)).toBe(left);
    of.backend(B).unpin(left);
    expectNothingLeft(of);
    const [over = 0] = frames(of, A, 2);
    const done = submit(of, A, 2, [over]);
    of.fill(over);
    of.backend(W).endRequest(of.backend(W).takeRequest(), 1);
    expect(of.backend(A).forsakeRequest(done)).toBe(0);
    of.backend(A).unpin(over);
    expectNothingLeft(of);
  });
});

describe.each(builds)("deaths, %s build", (_, checked) => {
  it("of a requester before its request is taken: the frames are repaired, nobody takes it", () => {
    const of = region(checked);
    const buffers = frames(of, A, 0, 4);
    submit(of, A, 0, buffers);
    of.kill(A);
    expect(of.backend(W).takeRequest()).toBe(ST_MISS);
    expectNothingLeft(of);
    for (const [block, buffer] of buffers.entries()) expect(of.pin(B, FILE, block)).toBe(buffer);
  });

  it("of a requester after its request was taken: the worker ends the reads and frees it", () => {
    const of = region(checked);
    const buffers = frames(of, A, 0, 2);
    const request = submit(of, A, 0, buffers);
    of.backend(W).takeRequest();
    of.kill(A);
    expect(buffers.map((buffer) => ownerOf(of, buffer))).toEqual([W + 1, W + 1]);
    // The slot is somebody else's by now, and the request not yet free again.
    of.attach(A);
    expect(of.backend(A).beginRequest(FILE, 50)).not.toBe(request);
    for (const buffer of buffers) of.fill(buffer);
    of.backend(W).endRequest(request, 1);
    expectNothingLeft(of);
    expect(of.pin(B, FILE, 1)).toBe(buffers[1]);
  });

  it("of a requester that has not looked at the answer: the request is free", () => {
    const of = region(checked);
    for (const read of [0, 1]) {
      const [buffer = 0] = frames(of, A, 20 + read);
      submit(of, A, 20 + read, [buffer]);
      of.fill(buffer);
      of.backend(W).endRequest(of.backend(W).takeRequest(), read);
      of.kill(A);
      expectNothingLeft(of);
      of.attach(A);
    }
  });

  it("of a worker in the middle of a read: the requester may read for itself", () => {
    const of = region(checked, [W, V]);
    const buffers = frames(of, A, 0, 2);
    const request = submit(of, A, 0, buffers);
    of.backend(W).takeRequest();
    of.frame(buffers[0] ?? 0).fill(0xdd, 0, 4096);
    of.kill(W);
    expect(of.backend(A).awaitRequest(request)).toBe(REQUEST_FAILED);
    for (const buffer of buffers) {
      expect(of.backend(A).ensureValid(buffer, 0)).toBe(buffer | NEED_READ);
      of.fill(buffer);
      of.backend(A).finishRead(buffer, 1);
      of.backend(A).unpin(buffer);
    }
    expectNothingLeft(of);
  });

  it("of a worker that was just taking frames over: those that it had not yet are let go too", () => {
    const of = region(checked, [W, V]);
    const buffers = frames(of, A, 0, 2);
    const request = submit(of, A, 0, buffers);
    words(of)[request] = REQUEST_HANDING | (W + 1);
    of.kill(W);
    expect(of.backend(A).awaitRequest(request)).toBe(REQUEST_FAILED);
    for (const buffer of buffers) {
      expect(ownerOf(of, buffer)).toBe(0);
      of.backend(A).unpin(buffer);
    }
    expectNothingLeft(of);
  });

  it("of a requester while a worker takes its frames over: the reaper waits for the worker", () => {
    const of = region(checked, [W, V]);
    const request = submit(of, A, 0, frames(of, A, 0, 2));
    words(of)[request] = REQUEST_HANDING | (W + 1);
    const owner = of.backend(0);
    owner.markDead(A);
    expect(owner.reap(A)).toBe(ST_BUSY);
    // And of the worker too: the first is repaired once the second is.
    of.kill(W);
    expect(owner.reap(A)).toBe(ST_OK);
    expectNothingLeft(of);
  });

  it("of both: whichever is repaired first, nothing is left", () => {
    for (const order of [
      [A, W],
      [W, A],
    ]) {
      const of = region(checked);
      submit(of, A, 0, frames(of, A, 0, 3));
      of.backend(W).takeRequest();
      for (const slot of order) of.kill(slot);
      expectNothingLeft(of);
    }
  });

  it("of the last worker: what waits ends like what it had taken, and whoever wants it reads", () => {
    const of = region(checked, [W, V]);
    const buffers = frames(of, A, 0, 2);
    const request = submit(of, A, 0, buffers);
    of.kill(V);
    expect(of.backend(A).awaitRequest(request)).toBe(ST_WAIT);
    of.kill(W);
    expect(buffers.map((buffer) => ownerOf(of, buffer))).toEqual([0, 0]);
    expect(of.pin(B, FILE, 0)).toBe(buffers[0]);
    expect(of.backend(A).awaitRequest(request)).toBe(REQUEST_FAILED);
    of.backend(B).unpin(buffers[0] ?? 0);
    for (const buffer of buffers) of.backend(A).unpin(buffer);
    expectNothingLeft(of);
  });

  it("of the last worker: a requester that is dead as well leaves nothing either", () => {
    for (const order of [
      [A, W],
      [W, A],
    ]) {
      const of = region(checked);
      submit(of, A, 0, frames(of, A, 0, 3));
      for (const slot of order) of.kill(slot);
      expectNothingLeft(of);
    }
  });

  it("a slot that was a worker's is none when it is used again", () => {
    const of = region(checked);
    of.kill(W);
    of.attach(W);
    expect(of.backend(A).beginRequest(FILE, 0)).toBe(ST_MISS);
  });
});

describe("slots for helpers", () => {
  it("clients never get one of the topmost slots, helpers no other", () => {
    const of = new RawRegion({ backends: 5 });
    const header = new Uint32Array(of.memory.buffer);
    for (let slot = 1; slot <= 5; slot += 1) of.backend(slot).leave();
    header[136 / 4] = 2;
    const owner = of.backend(0);
    expect([owner.claimSlot(9, 1), owner.claimSlot(9, 1), owner.claimSlot(9, 1)]).toEqual([
      4, 5, -13,
    ]);
    expect([0, 0, 0, 0].map(() => owner.claimSlot(9))).toEqual([1, 2, 3, -13]);
  });
});
