// What both sides of the wasm boundary must agree on about requests to I/O workers: constants.ts
// has no room for it. The same rules: bare literals only.

/** Requests of one backend that can be under way; their state words are one cache line. */
export const IO_REQUESTS = 16;
/** Pages of one request. */
export const IO_REQUEST_PAGES = 32;
export const IO_QUEUE_HEADER_BYTES = 64;
export const IO_REQUEST_BYTES = 144;
export const IO_REQUEST_BUFFERS_OFFSET = 16;
/** The state word of a request: the worker in the low bits, a phase, and whether nobody waits. */
export const REQUEST_PHASE_MASK = 0x1c00;
export const REQUEST_FREE = 0;
export const REQUEST_SUBMITTED = 0x400;
export const REQUEST_HANDING = 0x800; // a worker takes the frames over
export const REQUEST_READING = 0xc00; // it has them
export const REQUEST_DONE = 0x1000; // they are valid
export const REQUEST_FAILED = 0x1400; // they are nobody's, and not valid
export const REQUEST_ORPHAN = 0x2000; // bit 13: the worker frees the request
