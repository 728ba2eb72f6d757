// Reads that I/O workers do for other backends: requests in shared memory, a few for each slot.
//
//   requester   FREE ─► SUBMITTED                                 DONE or FAILED ─► FREE
//   worker              SUBMITTED ─► HANDING ─► READING ─► DONE or FAILED
//   nobody is there     SUBMITTED ─► HANDING ─► FAILED
//
//    31      14   13     12   10 9             0
//   ┌──────────┬────────┬───────┬───────────────┐
//   │     0    │ ORPHAN │ phase │ worker + 1, 0 │    worker ≠ 0 ⇔ HANDING or READING
//   └──────────┴────────┴───────┴───────────────┘
//
// A request names blocks and the frames that its backend has taken on to read into (IO). What it
// says is written while it is FREE, by its backend alone, and read by whoever made it HANDING. The
// worker then puts its own number in the place of the requester's in the state word of each frame,
// one compare-and-swap each, reads, ends the reads, and tells. From SUBMITTED to that swap the
// frame is the requester's, afterwards the worker's, and whoever of the two dies, the other knows
// what it has. IO keeps the frames from eviction: they need no pin.
//
// A read that fails, for whatever reason, ends as FAILED with its frames let go, and the requester
// reads for itself: so it meets the very error that it would meet without workers.
//
// Who waits no longer takes a request back that nobody has taken; else it leaves it to the worker
// as an ORPHAN, which the worker frees when it is done.
//
// A requester goes on with other work while its requests are read, and may come to want such a page
// by another way. Until a worker has the frame its state word says that this backend reads it,
// which would be a wait for oneself; so it sleeps on the request's word instead (`awaitOwn`).
//
// Deaths, settled before the frames of the dead are repaired (reap.ts):
//
// * of a requester: SUBMITTED becomes FREE, so that nobody takes it any more, and the frames are
//   still its own, to be repaired. READING becomes an ORPHAN: the frames are the worker's. At
//   HANDING the reaper waits: a worker that goes on there looks for the requester's number in the
//   frames, which must not be the number of somebody new.
// * of a worker: the frames of what it had taken are let go, those not yet handed over too, and
//   the request is FAILED. Their requester lives, or is not repaired before this is done.
// * of the last worker: what is SUBMITTED is taken in its name, so that it ends like the rest. Its
//   frames must not stay the requester's: it may be far away, waiting for somebody who waits for
//   them. A requester submits first and looks for workers then, the reaper is called for a slot
//   that is no longer active: one sees the other.
//
// Idle workers sleep on one flag. A worker sets it and looks through the requests once more; who
// submits looks at the flag afterwards, clears it and wakes all: one sees the other, and a worker
// that dies in between has taken nothing from the others.
//
// Locks: none; nothing is waited for here.
// PostgreSQL: src/backend/storage/aio/method_worker.c, pgaio_worker_submit, IoWorkerMain

import { WAIT_AIO_COMPLETION, WAIT_IO_WORKER_MAIN } from "../common/activity-constants";
import { Atomic } from "../common/atomics";
import { invariant } from "../common/check";
import {
  BACKEND_IO_WORKER,
  CACHE_LINE_BYTES,
  LIFE_ACTIVE,
  LIFE_STATE_MASK,
  OWNER_MASK,
  PAGE_GOOD,
  PANIC_STATE,
  ST_BUSY,
  ST_MISS,
  ST_OK,
  ST_WAIT,
} from "../common/constants";
import {
  IO_QUEUE_HEADER_BYTES,
  IO_REQUEST_BUFFERS_OFFSET,
  IO_REQUEST_BYTES,
  IO_REQUEST_PAGES,
  IO_REQUESTS,
  REQUEST_DONE,
  REQUEST_FAILED,
  REQUEST_FREE,
  REQUEST_HANDING,
  REQUEST_ORPHAN,
  REQUEST_PHASE_MASK,
  REQUEST_READING,
  REQUEST_SUBMITTED,
} from "../common/io-constants";
import { Region } from "../ipc/region";
import { me, Self } from "../ipc/self";
import { Sleep } from "../ipc/sleep";
import { Slot } from "../ipc/slots";
import { BufferDesc, State } from "./desc";
import { BufferIo } from "./io";
import { Page } from "./page";

/** What a request says. Its state word stands apart, with those of its slot in one cache line. */
@unmanaged
export class IoRequest {
  /** Place in the order of submission. Atomic: workers compare those of all that wait. */
  private ticket: u32;
  /** As in a tag: relation << 2 | fork. */
  file: u32;
  /** First block. */
  block: u32;
  /** Pages, the frames behind. */
  count: u32;

  @inline getTicket(): u32 {
    return Atomic.load(changetype<usize>(this) + offsetof<IoRequest>("ticket"));
  }

  @inline setTicket(ticket: u32): void {
    Atomic.store(changetype<usize>(this) + offsetof<IoRequest>("ticket"), ticket);
  }

  @inline getBuffer(index: u32): u32 {
    return load<u32>(changetype<usize>(this) + index * sizeof<u32>(), IO_REQUEST_BUFFERS_OFFSET);
  }

  hasBuffer(buffer: u32): bool {
    for (let index: u32 = 0; index < this.count; ++index) {
      if (this.getBuffer(index) == buffer) return true;
    }
    return false;
  }

  @inline addBuffer(buffer: u32): void {
    const at = changetype<usize>(this) + this.count * sizeof<u32>();
    store<u32>(at, buffer, IO_REQUEST_BUFFERS_OFFSET);
    this.count += 1;
  }
}

/** In front of the requests: 1 while workers may be asleep, and the next ticket. */
@unmanaged
class IoQueueHeader {
  idle: u32;
  tickets: u32;
}

export class IoQueue {
  // ── Requesting ─────────────────────────────────────────────────────────────────────────────────

  /** A free request of this backend, to be filled at once; ST_MISS: there is none, or no worker. */
  static begin(file: u32, block: u32): i32 {
    if (Region.get().ioQueue == 0 || !IoQueue.isServed()) return ST_MISS;
    const first = me * IO_REQUESTS;
    for (let index: u32 = first; index < first + IO_REQUESTS; ++index) {
      if (Atomic.load(IoQueue.word(index)) != REQUEST_FREE) continue;
      const request = IoQueue.request(index);
      request.file = file;
      request.block = block;
      request.count = 0;
      return index;
    }
    return ST_MISS;
  }

  @inline static add(index: u32, buffer: u32): void {
    const request = IoQueue.request(index);
    if (CHECKING) invariant(request.count < <u32>IO_REQUEST_PAGES, PANIC_STATE);
    request.addBuffer(buffer);
  }

  /** Lets workers take a request; ST_MISS, and it is free again, if there are none. */
  static submit(index: u32): i32 {
    const word = IoQueue.word(index);
    IoQueue.request(index).setTicket(Atomic.add(IoQueue.ticketsAddress(), 1));
    Atomic.store(word, REQUEST_SUBMITTED);
    if (!IoQueue.isServed() && IoQueue.takeBack(word)) return ST_MISS;
    if (Atomic.load(IoQueue.idleAddress()) != 0 && Atomic.exchange(IoQueue.idleAddress(), 0) != 0) {
      Atomic.notifyAll(IoQueue.idleAddress());
    }
    return ST_OK;
  }

  /** How a request has ended, and it is free; or ST_WAIT. */
  static await(index: u32): i32 {
    const word = IoQueue.word(index);
    const seen = Atomic.load(word);
    if (!IoQueue.isOver(seen)) {
      return Sleep.register(word, seen, ST_WAIT, WAIT_AIO_COMPLETION);
    }
    Atomic.store(word, REQUEST_FREE);
    return seen;
  }

  /** Gives a request up: ST_MISS if nobody took it, and its frames are this backend's to end. */
  static forsake(index: u32): i32 {
    const word = IoQueue.word(index);
    while (true) {
      if (IoQueue.takeBack(word)) return ST_MISS;
      const seen = Atomic.load(word);
      if (IoQueue.isOver(seen)) {
        Atomic.store(word, REQUEST_FREE);
        return ST_OK;
      }
      if (seen == REQUEST_SUBMITTED) continue;
      if (Atomic.swap(word, seen, seen | REQUEST_ORPHAN)) return ST_OK;
    }
  }

  /**
   * Registers this backend as asleep on the request that has one of its frames; false if none has.
   * Its end changes the word, and what comes before that is worth another look at the frame.
   */
  static awaitOwn(buffer: u32): bool {
    if (Region.get().ioQueue == 0) return false;
    const first = me * IO_REQUESTS;
    for (let index: u32 = first; index < first + IO_REQUESTS; ++index) {
      const seen = Atomic.load(IoQueue.word(index));
      if (seen == REQUEST_FREE || IoQueue.isOver(seen)) continue;
      if (!IoQueue.request(index).hasBuffer(buffer)) continue;
      Sleep.prepare(IoQueue.word(index), seen);
      return true;
    }
    return false;
  }

  @inline private static takeBack(word: usize): bool {
    return Atomic.swap(word, REQUEST_SUBMITTED, REQUEST_FREE);
  }

  @inline private static isOver(state: u32): bool {
    return state == <u32>REQUEST_DONE || state == <u32>REQUEST_FAILED;
  }

  // ── Serving ────────────────────────────────────────────────────────────────────────────────────

  /** Takes the request that has waited longest, with its frames; ST_MISS if none waits. */
  static take(): i32 {
    while (true) {
      const index = IoQueue.oldest();
      if (index < 0) return ST_MISS;
      const taken = REQUEST_HANDING | Self.owner();
      if (!Atomic.swap(IoQueue.word(index), REQUEST_SUBMITTED, taken)) continue;
      IoQueue.handOver(index);
      return index;
    }
  }

  private static oldest(): i32 {
    let oldest: i32 = ST_MISS;
    let ticket: u32 = 0;
    const count = IoQueue.count();
    for (let index: u32 = 0; index < count; ++index) {
      if (Atomic.load(IoQueue.word(index)) != REQUEST_SUBMITTED) continue;
      const own = IoQueue.request(index).getTicket();
      // Tickets begin again at 0, hence the difference.
      if (oldest >= 0 && <i32>(own - ticket) >= 0) continue;
      oldest = index;
      ticket = own;
    }
    return oldest;
  }

  /** Makes the frames of a request this worker's. */
  private static handOver(index: u32): void {
    const request = IoQueue.request(index);
    const requester = IoQueue.requester(index);
    for (let page: u32 = 0; page < request.count; ++page) {
      const desc = BufferDesc.at(request.getBuffer(page));
      while (true) {
        const seen = desc.getState();
        if (CHECKING) invariant(State.owner(seen) == requester, PANIC_STATE);
        if (desc.swapState(seen, (seen & ~OWNER_MASK) | Self.owner())) break;
      }
    }
    const word = IoQueue.word(index);
    while (true) {
      const seen = Atomic.load(word);
      if (Atomic.swap(word, seen, (seen & ~REQUEST_PHASE_MASK) | REQUEST_READING)) return;
    }
  }

  /** Ends the reads of a request that was taken; false if storage failed or a page is none. */
  static end(index: u32, read: bool): bool {
    const good = read && IoQueue.verify(index);
    const request = IoQueue.request(index);
    for (let page: u32 = 0; page < request.count; ++page) {
      BufferIo.finishRead(request.getBuffer(page), good);
    }
    IoQueue.tell(index, good ? REQUEST_DONE : REQUEST_FAILED);
    return good;
  }

  private static verify(index: u32): bool {
    const request = IoQueue.request(index);
    for (let page: u32 = 0; page < request.count; ++page) {
      const frame = BufferDesc.frame(request.getBuffer(page));
      if (Page.verify(frame, request.block + page) != PAGE_GOOD) return false;
    }
    return true;
  }

  /** Ends a request; one that nobody waits for is free. */
  private static tell(index: u32, phase: u32): void {
    const word = IoQueue.word(index);
    while (true) {
      const seen = Atomic.load(word);
      const next: u32 = (seen & REQUEST_ORPHAN) != 0 ? REQUEST_FREE : phase;
      if (Atomic.swap(word, seen, next)) break;
    }
    Atomic.notifyAll(word);
  }

  /** Registers this worker as asleep until there is a request; ST_OK if there is one. */
  static awaitWork(): i32 {
    const idle = IoQueue.idleAddress();
    Atomic.store(idle, 1);
    if (IoQueue.oldest() >= 0) return ST_OK;
    return Sleep.register(idle, 1, ST_WAIT, WAIT_IO_WORKER_MAIN);
  }

  /** Whether there is a worker. */
  static isServed(): bool {
    for (let index = Region.get().backends - 1; index > 0; --index) {
      const slot = Slot.at(index);
      if (slot.getKind() != BACKEND_IO_WORKER) continue;
      if ((slot.getLife() & LIFE_STATE_MASK) == LIFE_ACTIVE) return true;
    }
    return false;
  }

  // ── Deaths ─────────────────────────────────────────────────────────────────────────────────────

  /** Settles the requests of a backend that goes, and those it serves; ST_BUSY: call again. */
  static settle(dead: u32): i32 {
    if (Region.get().ioQueue == 0) return ST_OK;
    if (Slot.at(dead).getKind() == BACKEND_IO_WORKER) IoQueue.settleServed(dead);
    const first = dead * IO_REQUESTS;
    for (let index: u32 = first; index < first + IO_REQUESTS; ++index) {
      const phase = IoQueue.disown(index);
      if (phase == REQUEST_HANDING) return ST_BUSY;
    }
    return ST_OK;
  }

  /** Leaves a request to its worker, or frees it; REQUEST_HANDING if that cannot be done now. */
  private static disown(index: u32): u32 {
    const word = IoQueue.word(index);
    while (true) {
      const seen = Atomic.load(word);
      const phase = seen & REQUEST_PHASE_MASK;
      if (phase == REQUEST_HANDING) return phase;
      const next: u32 = phase == REQUEST_READING ? seen | REQUEST_ORPHAN : REQUEST_FREE;
      if (seen == next || Atomic.swap(word, seen, next)) return phase;
    }
  }

  private static settleServed(dead: u32): void {
    const left = !IoQueue.isServed();
    const count = IoQueue.count();
    for (let index: u32 = 0; index < count; ++index) {
      const word = IoQueue.word(index);
      if (left) Atomic.swap(word, REQUEST_SUBMITTED, REQUEST_HANDING | (dead + 1));
      if ((Atomic.load(word) & OWNER_MASK) != dead + 1) continue;
      IoQueue.letGo(index, dead);
      IoQueue.tell(index, REQUEST_FAILED);
    }
  }

  /** Ends the reads of a request whose worker is dead: frames it has, and those still to come. */
  private static letGo(index: u32, dead: u32): void {
    const request = IoQueue.request(index);
    const handing = (Atomic.load(IoQueue.word(index)) & REQUEST_PHASE_MASK) == REQUEST_HANDING;
    for (let page: u32 = 0; page < request.count; ++page) {
      const buffer = request.getBuffer(page);
      const owner = State.owner(BufferDesc.at(buffer).getState());
      if (owner == dead + 1 || (handing && owner == IoQueue.requester(index))) {
        BufferIo.abandon(buffer);
      }
    }
  }

  // ── Places ─────────────────────────────────────────────────────────────────────────────────────

  @inline private static count(): u32 {
    return Region.get().ioQueue == 0 ? 0 : Region.get().backends * IO_REQUESTS;
  }

  /** What stands in an owner word for the backend of a request. */
  @inline private static requester(index: u32): u32 {
    return index / IO_REQUESTS + 1;
  }

  @inline private static idleAddress(): usize {
    return Region.get().ioQueue + offsetof<IoQueueHeader>("idle");
  }

  @inline private static ticketsAddress(): usize {
    return Region.get().ioQueue + offsetof<IoQueueHeader>("tickets");
  }

  /** Address of a state word. */
  @inline private static word(index: u32): usize {
    return Region.get().ioQueue + IO_QUEUE_HEADER_BYTES + index * sizeof<u32>();
  }

  @inline static request(index: u32): IoRequest {
    const words = Region.get().ioQueue + IO_QUEUE_HEADER_BYTES;
    const requests = words + Region.get().backends * CACHE_LINE_BYTES;
    return changetype<IoRequest>(requests + index * IO_REQUEST_BYTES);
  }
}

if (IO_REQUESTS * 4 != CACHE_LINE_BYTES) ERROR("state words of a slot must fill a cache line");
if (offsetof<IoRequest>() != <usize>IO_REQUEST_BUFFERS_OFFSET) ERROR("buffers follow the fields");
if (IO_REQUEST_BUFFERS_OFFSET + IO_REQUEST_PAGES * 4 != IO_REQUEST_BYTES) ERROR("a request grew");
if (offsetof<IoQueueHeader>() > <usize>IO_QUEUE_HEADER_BYTES) ERROR("the header grew");
if (REQUEST_SUBMITTED != OWNER_MASK + 1) ERROR("phases must begin above the owner");
if (REQUEST_FAILED > REQUEST_PHASE_MASK) ERROR("a phase must fit its bits");
if (REQUEST_ORPHAN != REQUEST_PHASE_MASK + REQUEST_SUBMITTED) ERROR("ORPHAN stands above");
