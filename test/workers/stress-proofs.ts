// What a stress test proves, for both lengths of it.

import { expect } from "vitest";
import { digestOf, Stress, type StressOptions, type Versions } from "./stress.ts";
import { stampPage } from "./stress-page.ts";

/** Runs `work` on a stress test that is closed whatever happens. */
async function stressed(
  options: StressOptions,
  work: (stress: Stress) => Promise<void>,
): Promise<void> {
  const stress = await Stress.open(options);
  try {
    await stress.run();
    await work(stress);
  } catch (error) {
    throw await stress.causeOf(error);
  } finally {
    await stress.close();
  }
}

/**
 * Without deaths: each page's version is the number of its completed changes, the digest of all
 * pages is the one that follows from these numbers, and a restart finds the last checkpoint.
 */
export async function loseNothing(options: StressOptions): Promise<void> {
  await stressed(options, async (stress) => {
    await stress.stop();
    const completed = stress.counts("completed");
    expect(stress.counts("started")).toEqual(completed);
    expect(stress.versions()).toEqual(completed);
    expect(stress.residue()).toEqual([]);
    const blocks = stress.relation.blocksSync();
    expect(stress.digest()).toBe(digestOf(completed, blocks));
    const { reads, evictions, writes } = stress.shared.statistics();
    expect(Math.min(reads, evictions, writes, stress.checkpoints)).toBeGreaterThan(0);
    stress.backend.checkpointSync();
    changeAfterwards(stress, completed);
    if (options.configuration.storage === "files") {
      expect(await stress.reopened()).toEqual(completed);
    }
  });
}

/** Changes that no checkpoint sees, written in place. */
function changeAfterwards({ backend, relation }: Stress, versions: Versions): void {
  for (let block = 0; block < relation.blocksSync(); block += 3) {
    backend.buffers.changeSync(relation, block, (bytes) => {
      stampPage(bytes, block, (versions[block] ?? 0) + 1);
    });
  }
  backend.buffers.flushSync();
}

/**
 * With deaths: each page is whole and has at least the changes that were completed and at most
 * those that were begun; nothing is locked, pinned or stuck; and a restart finds a checkpoint that
 * was taken under the load, no page older or newer than that.
 */
export async function outliveTheTerminated(options: StressOptions): Promise<void> {
  await stressed(options, async (stress) => {
    expect(stress.kills).toBeGreaterThanOrEqual(options.kills);
    const { kills, restarts, ends } = stress;
    const ended = `${ends.repaired} in repair, ${ends.restarted} in ${restarts} restarts`;
    options.say?.(`${kills} terminated: ${ended}; ${ends.outside} more had no slot`);
    expect(ends.repaired).toBeGreaterThan(0);
    const before = stress.counts("completed");
    await stress.backend.checkpoint();
    const after = stress.counts("started");
    await stress.stop();
    const versions = stress.versions();
    expectBetween(versions, stress.counts("completed"), stress.counts("started"));
    expect(stress.residue()).toEqual([]);
    expect(stress.digest()).toBe(digestOf(versions, stress.relation.blocksSync()));
    if (options.configuration.storage === "files") {
      expectBetween(await stress.reopened(), before, after);
    }
  });
}

function expectBetween(versions: Versions, low: Versions, high: Versions): void {
  const wrong = versions.flatMap((version, block) => {
    const [least = 0, most = 0] = [low[block], high[block]];
    if (version >= least && version <= most) return [];
    return [`block ${block} has version ${version}, not ${least} to ${most}`];
  });
  expect(wrong).toEqual([]);
}
