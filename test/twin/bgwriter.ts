// The background writer's arithmetic, written from the sheet and nothing else: one round over a
// pool that is given as a list of buffers. It says which buffers are written, in which order, where
// the next round begins and what the smoothed numbers are.
//
// It is the oracle of test/shared/writers.test.ts and shares no code with what it judges. It goes
// one buffer at a time and writes at once, while the library looks at stretches and writes batches.
//
// PostgreSQL: src/backend/storage/buffer/bufmgr.c, BgBufferSync, SyncOneBuffer

/** One buffer as SyncOneBuffer sees it. */
export interface TwinBuffer {
  readonly held: boolean;
  readonly usage: number;
  readonly valid: boolean;
  readonly dirty: boolean;
}

/** What StrategySyncStart returns. */
export interface TwinPosition {
  readonly hand: number;
  readonly passes: number;
  /** Allocations since the round before. */
  readonly allocations: number;
}

/** The parameters of the same names. */
export interface TwinWriterSettings {
  readonly bgwriter_delay: number;
  readonly bgwriter_lru_maxpages: number;
  readonly bgwriter_lru_multiplier: number;
}

/** What a round did. */
export interface TwinRound {
  readonly written: readonly number[];
  readonly scanned: number;
  readonly atLimit: boolean;
  readonly mayHibernate: boolean;
}

/** State that lives from round to round. */
export class TwinWriter {
  saved = false;
  prevHand = 0;
  prevPasses = 0;
  nextToClean = 0;
  nextPasses = 0;
  smoothedAlloc = 0;
  smoothedDensity = 10;
  readonly #settings: TwinWriterSettings;

  constructor(settings: TwinWriterSettings) {
    this.#settings = settings;
  }

  round(pool: readonly TwinBuffer[], at: TwinPosition): TwinRound {
    const { bgwriter_lru_maxpages: limit, bgwriter_lru_multiplier: factor } = this.#settings;
    const n = pool.length;
    const recent = at.allocations;
    if (limit <= 0) {
      this.saved = false;
      return { written: [], scanned: 0, atLimit: false, mayHibernate: true };
    }
    let delta = 0;
    let lap = n;
    let behind = true;
    if (this.saved) {
      delta = at.hand - this.prevHand + (at.passes - this.prevPasses) * n;
      if (this.nextPasses > at.passes) {
        lap = at.hand - this.nextToClean;
        behind = false;
      } else if (this.nextPasses === at.passes && this.nextToClean >= at.hand) {
        lap = n - (this.nextToClean - at.hand);
        behind = false;
      }
    }
    if (behind) {
      this.nextToClean = at.hand;
      this.nextPasses = at.passes;
    }
    this.saved = true;
    this.prevHand = at.hand;
    this.prevPasses = at.passes;
    if (delta > 0 && recent > 0)
      this.smoothedDensity += (delta / recent - this.smoothedDensity) / 16;
    const estimate = Math.floor((n - lap) / this.smoothedDensity);
    if (this.smoothedAlloc <= recent) this.smoothedAlloc = recent;
    else this.smoothedAlloc += (recent - this.smoothedAlloc) / 16;
    let upcoming = Math.floor(this.smoothedAlloc * factor);
    if (upcoming === 0) this.smoothedAlloc = 0;
    const minScan = Math.floor(n / (120000 / this.#settings.bgwriter_delay));
    if (upcoming < minScan + estimate) upcoming = minScan + estimate;
    return this.#scan(pool, { lap, estimate, upcoming, recent });
  }

  #scan(
    pool: readonly TwinBuffer[],
    plan: { lap: number; estimate: number; upcoming: number; recent: number },
  ): TwinRound {
    const written: number[] = [];
    let toScan = plan.lap;
    let reusable = plan.estimate;
    let atLimit = false;
    while (toScan > 0 && reusable < plan.upcoming) {
      const buffer = this.nextToClean;
      const seen = pool[buffer];
      if (seen === undefined) throw new Error(`no buffer ${buffer}`);
      this.nextToClean += 1;
      if (this.nextToClean >= pool.length) {
        this.nextToClean = 0;
        this.nextPasses += 1;
      }
      toScan -= 1;
      if (seen.held || seen.usage > 0) continue;
      reusable += 1;
      if (!seen.valid || !seen.dirty) continue;
      written.push(buffer);
      atLimit = written.length >= this.#settings.bgwriter_lru_maxpages;
      if (atLimit) break;
    }
    const scanned = plan.lap - toScan;
    const found = reusable - plan.estimate;
    if (scanned > 0 && found > 0) {
      this.smoothedDensity += (scanned / found - this.smoothedDensity) / 16;
    }
    return { written, scanned, atLimit, mayHibernate: plan.lap === 0 && plan.recent === 0 };
  }
}
