// The control document of a data directory that nobody has open, from outside.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { nodeFiles } from "../../bindings/storage/node-fs.ts";

/** The file that has the newest control document. */
export function newestControl(directory: string): string {
  const numberIn = (file: string): number =>
    existsSync(file) ? Number(/^palloc document (\d+)/.exec(readFileSync(file, "utf8"))?.[1]) : 0;
  const [even = "", odd = ""] = [0, 1].map((n) => join(directory, `palloc.control.${n}`));
  return numberIn(even) > numberIn(odd) ? even : odd;
}

/** Replaces the control document by a changed one. */
export function changeControl(directory: string, change: (text: string) => string): void {
  const storage = nodeFiles(directory, { create: false });
  const text = new TextDecoder().decode(storage.readControlSync());
  storage.writeControlSync(new TextEncoder().encode(change(text)));
  storage.closeSync();
}
