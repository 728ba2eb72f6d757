// Empty on purpose. Neither module has a garbage-collected heap: objects are `@unmanaged` views of
// memory that the program itself manages. A managed allocation would need a runtime that, in a
// shared memory, two workers would initialise over each other.
//
// test/abi.test.ts holds the proof: no start function, no runtime export, and in shared.wasm no
// data.
