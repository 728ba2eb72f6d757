// Runs examples/lock-holder as its README says: a worker is ended in the middle, the other goes on.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));

it("the other worker goes on, and what the dead one held is given back", () => {
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ["dist/examples/lock-holder/main.js"],
    { cwd: root, encoding: "utf8", timeout: 50_000 },
  );
  expect([stderr, status]).toEqual(["", 0]);
  expect(stdout.trim().split("\n").toSorted()).toEqual(
    [
      "worker 1: holds two locks, half a sum, and a pinned page half changed",
      "worker 1 is terminated",
      "the backend in slot 1 is dead, its slot is free",
      'lock "account": put right under it, the sum was 10 and is 15',
      'worker 2: has lock "counter"',
      'worker 2: has lock "account": 9 + 6 = 15',
      "worker 2: reads the page as it was before: every byte is 1",
      "pages read again from storage: 0",
      "backends left: 0",
    ].toSorted(),
  );
});
