// What TypeScript calls of the queue for I/O workers; a part of shared.ts, which has room for one
// screen a subject. A request is a number: slot · IO_REQUESTS + which of the slot's.

import { IoQueue } from "./ioqueue";

/** Begins a request of this backend for consecutive blocks; ST_MISS if it cannot have one now. */
export function beginRequest(file: u32, block: u32): i32 {
  return IoQueue.begin(file, block);
}

/** Adds a frame that this backend has to read into. */
export function addToRequest(request: u32, buffer: u32): void {
  IoQueue.add(request, buffer);
}

/** Gives a request to the workers; ST_MISS if there are none. */
export function submitRequest(request: u32): i32 {
  return IoQueue.submit(request);
}

/** REQUEST_DONE or REQUEST_FAILED, and the request is free; or ST_WAIT. */
export function awaitRequest(request: u32): i32 {
  return IoQueue.await(request);
}

/** Waits no longer. ST_MISS if the frames are still this backend's to end. */
export function forsakeRequest(request: u32): i32 {
  return IoQueue.forsake(request);
}

/** For a worker: takes a request, with its frames; ST_MISS if there is none. */
export function takeRequest(): i32 {
  return IoQueue.take();
}

/** Ends what was taken: `read` is 0 if storage failed. 1 if the pages are good. */
export function endRequest(request: u32, read: u32): u32 {
  return IoQueue.end(request, read != 0) ? 1 : 0;
}

/** For a worker without work: ST_WAIT to sleep until there is some; ST_OK if there is. */
export function awaitWork(): i32 {
  return IoQueue.awaitWork();
}

export function requestFile(request: u32): u32 {
  return IoQueue.request(request).file;
}

export function requestBlock(request: u32): u32 {
  return IoQueue.request(request).block;
}

export function requestPages(request: u32): u32 {
  return IoQueue.request(request).count;
}

export function requestBuffer(request: u32, index: u32): u32 {
  return IoQueue.request(request).getBuffer(index);
}
