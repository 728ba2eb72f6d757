// What TypeScript calls of the background writer (bgwriter.ts).

import { BgWriter } from "./bgwriter";

/** The hand, its passes and the allocations since the last call, on the scratch page. */
export function writerStart(): void {
  BgWriter.start();
}

/** Looks for buffers to write; how far it came is on the scratch page. */
export function writerScan(first: u32, count: u32, wanted: u32): i32 {
  return BgWriter.scan(first, count, wanted);
}

export function writerHibernate(): i32 {
  return BgWriter.hibernate();
}

export function writerAwake(): void {
  BgWriter.awake();
}
