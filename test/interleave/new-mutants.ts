// Mistakes planted in what makes a checkpoint a commit, in cleanup locks and in cleared pages: in
// assembly/, or, for what TypeScript does, as subclasses and calls that parts.ts uses instead of
// the right ones.

import { LOCK_CHECKPOINT, ST_MISS } from "../../assembly/common/constants.ts";
import type { SharedExports } from "../../bindings/abi/shared-exports.ts";
import type { Attachment } from "../../bindings/shared/attachment.ts";
import { Journal, type PageWrite } from "../../bindings/shared/journal.ts";
import { PageIo, type PageIoParts } from "../../bindings/shared/page-io.ts";
import type { Routine } from "../../bindings/shared/routine.ts";
import { cleared, collisions, durable, narrowJournals } from "./configurations.ts";
import { type Mutant, mutant, planted } from "./mutants.ts";

const MINUTE_MS = 60_000;

/** Mistakes in what the deepened protocol added. */
export const newMutants: readonly Mutant[] = [
  mutant(
    "whoever gives back a pin does not wake who waits for a cleanup lock",
    "buffer/pin.ts",
    "    if ((BufferDesc.at(buffer).getState() & STATE_PIN_WAITER) != 0) Cleanup.wake(buffer);",
    "    if (buffer == 0x7fffffff) Cleanup.wake(buffer);",
  ),
  mutant(
    "who waits for a cleanup lock says so after its last look",
    "buffer/cleanup.ts",
    "    if (!Hold.byOthers(buffer)) return Cleanup.settled(buffer);\n    ContentLock.dropExclusive(buffer);\n    return Sleep",
    "    ContentLock.dropExclusive(buffer);\n    return Sleep",
  ),
  mutant(
    "a cleanup lock does not look at the pins of others",
    "buffer/cleanup.ts",
    "    if (!Hold.byOthers(buffer)) return Cleanup.settled(buffer);\n    const slot",
    "    if (buffer != 0x7fffffff) return Cleanup.settled(buffer);\n    const slot",
  ),
  {
    ...mutant(
      "a change says in which interval it is after it stands",
      "buffer/change.ts",
      "      desc.changed = interval;\n    }\n    slot.setChanging(0);",
      "    }\n    slot.setChanging(0);\n    Region.get().getInterval();\n    desc.changed = interval;",
    ),
    hunted: [
      {
        of: narrowJournals.slice(2, 3),
        bounds: { preemptions: 1, deaths: 1 },
        milliseconds: MINUTE_MS,
      },
    ],
  },
  mutant(
    "a change looks at the interval after it stands",
    "buffer/change.ts",
    "      if (isLastCopy && Region.get().journalled != 0) return ST_JOURNAL;\n      desc.changed = interval;\n    }\n    slot.setChanging(0);",
    "      if (isLastCopy && Region.get().journalled != 0) return ST_JOURNAL;\n    }\n    slot.setChanging(0);\n    desc.changed = Region.get().getInterval();",
  ),
  mutant(
    "a page that a checkpoint must keep is changed without asking for the journal",
    "buffer/change.ts",
    "      if (isLastCopy && Region.get().journalled != 0) return ST_JOURNAL;\n",
    "",
  ),
  mutant(
    "no image goes into the journal of a running checkpoint",
    "buffer/io.ts",
    "needed |= IMAGE_CURRENT;",
    "needed |= 0;",
  ),
  mutant(
    "no image goes into the journal of the last checkpoint",
    "buffer/io.ts",
    "let needed: u32 = Imaged.has(file, block, committed) ? 0 : IMAGE_COMMITTED;",
    "let needed: u32 = 0;",
  ),
  mutant(
    "a checkpoint passes every page by",
    "buffer/checkpoint.ts",
    "    return desc.changed == region.getInterval();",
    "    return true;",
  ),
  {
    ...mutant(
      "a checkpoint passes no page by",
      "buffer/checkpoint.ts",
      "    return desc.changed == region.getInterval();",
      "    return false;",
    ),
    harmless:
      "a page changed after the cut is written behind its image in the new journal, as ever",
  },
  {
    ...mutant(
      "a checkpoint collects pages whatever interval they are of",
      "buffer/checkpoint.ts",
      "      if ((seen & STATE_DIRTY) == 0 || Checkpoint.isPassed(desc, STATE_CHECKPOINT_NEEDED)) {",
      "      if ((seen & STATE_DIRTY) == 0) {",
    ),
    harmless: "it is passed by when its turn comes",
  },
  {
    ...mutant(
      "what is known of a page's images is taken for another page's",
      "buffer/imaged.ts",
      "      entry.even = 0;\n      entry.odd = 0;\n",
      "",
    ),
    hunted: [{ of: collisions, bounds: { preemptions: 1, deaths: 0 }, milliseconds: MINUTE_MS }],
  },
  mutant(
    "a page that is cleared is clean",
    "buffer/io.ts",
    "    desc.changeState(0, STATE_DIRTY | STATE_JUST_DIRTIED);\n    desc.changed",
    "    desc.changed",
  ),
  {
    ...mutant(
      "a page that is cleared looks at the interval before it is dirty",
      "buffer/io.ts",
      "    desc.changeState(0, STATE_DIRTY | STATE_JUST_DIRTIED);\n    desc.changed = Region.get().getInterval();",
      "    desc.changed = Region.get().getInterval();\n    desc.changeState(0, STATE_DIRTY | STATE_JUST_DIRTIED);",
    ),
    hunted: [{ of: [cleared], bounds: { preemptions: 2, deaths: 0 }, milliseconds: MINUTE_MS }],
  },
  mutant(
    "a frame that the dead was clearing stays dirty",
    "buffer/io.ts",
    "desc.changeState(END_OF_IO | DIRTY_BITS, STATE_IO_ERROR)",
    "desc.changeState(END_OF_IO, STATE_IO_ERROR)",
  ),
  planted("a page is written before its image is appended", {
    pageIo: (parts) => new LateIo(parts),
    journal: (...parts) => new LateJournal(...parts),
  }),
  planted("images are not made durable before their pages are written", {
    journal: (...parts) => new UnsyncedJournal(...parts),
  }),
  planted("an image is noted before it is appended", {
    exports: (x) => ({ ...x, imagesNeeded: (buffer) => notedTooEarly(x, buffer) }),
  }),
  {
    ...planted("nobody asks whether a checkpoint whose backend died is committed", {
      journal: (...parts) => new UnsettledJournal(...parts),
    }),
    hunted: [
      {
        of: [durable("checkpoint", "checkpoint")],
        bounds: { preemptions: 0, deaths: 1 },
        milliseconds: MINUTE_MS,
      },
    ],
  },
  planted("truncating forgets pages that are not in the file", {
    exports: (x) => ({ ...x, nextDirty: () => ST_MISS }),
  }),
];

class LateJournal extends Journal {
  override *protect(): Routine<void> {}

  *late(pages: readonly PageWrite[]): Routine<void> {
    yield* super.protect(pages);
  }
}

class LateIo extends PageIo {
  readonly #journal: LateJournal;

  constructor(parts: PageIoParts) {
    super(parts);
    this.#journal = parts.journal as LateJournal;
  }

  override *write(buffers: readonly number[], context: number): Routine<void> {
    const pages = buffers.map((buffer) => this.pageOf(buffer));
    yield* super.write(buffers, context);
    yield* this.#journal.late(pages);
  }
}

class UnsyncedJournal extends Journal {
  override *sync(): Routine<void> {}
}

class UnsettledJournal extends Journal {
  readonly #attachment: Attachment;

  constructor(...[attachment, storage]: ConstructorParameters<typeof Journal>) {
    super(attachment, storage);
    this.#attachment = attachment;
  }

  override *withCheckpointLock<Result>(work: () => Routine<Result>): Routine<Result> {
    return yield* this.#attachment.withNamedLock(LOCK_CHECKPOINT, work);
  }
}

function notedTooEarly(x: SharedExports, buffer: number): number {
  const needed = x.imagesNeeded(buffer);
  x.setImaged(x.fileOf(buffer) >>> 0, x.blockOf(buffer) >>> 0, 1);
  return needed;
}
