// A checkpoint is a commit: after a crash at whatever operation of the disk, whatever is left of
// what was not synced, the next start finds exactly the last checkpoint, or the one whose control
// document was just being replaced: names, lengths, every byte of every page. So does a start after
// a crash within that start.
//
// Every other history runs on the checked build. A failure tells the seed, the operation and what
// was lost; `campaign` with that seed has it again.

import { expect, test } from "vitest";
import { CrashDisk } from "../storage/crash-disk.ts";
import { Random, seed } from "../support/random.ts";
import { campaign, check } from "./crashes.ts";
import { History, nothingYet } from "./history.ts";
import { World } from "./world.ts";

test("every crash of short histories leaves the last checkpoint, in four images each", async () => {
  const count = { images: 0 };
  for (let turn = 0; turn < 5; turn++) {
    const often = { often: 100, images: 4, check: { again: 1 } };
    const world = { checked: turn % 2 === 1 };
    await campaign({ seed: seed + turn, turns: 110, world, ...often }, nothingYet(), count);
  }
  expect(count.images).toBeGreaterThan(500);
}, 120_000);

test("crashes of long histories over several lives do, and all that is hard has occurred", async () => {
  const occurred = nothingYet();
  const count = { images: 0 };
  for (let turn = 0; turn < 6; turn++) {
    const world = { checked: turn % 2 === 1 };
    const plan = { seed: seed + turn, turns: 1500, lives: 3, often: 3, world };
    await campaign(plan, occurred, count);
  }
  expect(count.images).toBeGreaterThan(1000);
  const rare = Object.entries(occurred).filter(([, times]) => times < 5);
  expect(rare, "occurred hardly or never").toEqual([]);
}, 180_000);

test("a crash at an operation is what the image made in it shows", async () => {
  const images: string[] = [];
  const world = await World.begin(new CrashDisk());
  const history = new History(world, new Random(seed), nothingYet());
  const n = 60;
  world.disk.onOperation = () => {
    if (world.disk.operations === n) images.push(world.disk.image(new Random(1)).lost.join());
  };
  world.disk.crashAt(n);
  const crash = (): void => {
    for (let turn = 0; turn < 1000; turn++) history.turn();
  };
  expect(crash).toThrow();
  expect(world.disk.crashed).toBe(true);
  const image = world.disk.image(new Random(1));
  expect([image.lost.join()]).toEqual(images);
  await check({ disk: image, candidates: world.candidates, n }, { seed }, { images: 0 });
  await world.end();
});
