/** Progress of the load on stderr: a bar on a terminal, elsewhere a few lines. */

import { Presets, SingleBar } from "cli-progress";
import type { LoadProgress } from "./messages.ts";

/** Shows where a load is. */
export interface ProgressDisplay {
  readonly show: (progress: LoadProgress) => void;
  /** Leaves the terminal's line as it stands. */
  readonly stop: () => void;
}

const TITLES = {
  check: "Checking bytes",
  rows: "Loading rows",
  checkpoint: "Writing dirty buffers",
} as const;

/** Makes the display that suits `stream`. */
export function progressDisplay(stream: NodeJS.WriteStream): ProgressDisplay {
  return stream.isTTY ? progressBar(stream) : progressLines(stream);
}

function progressBar(stream: NodeJS.WriteStream): ProgressDisplay {
  let bar: SingleBar | undefined;
  let phase: LoadProgress["phase"] | undefined;
  const stop = (): void => bar?.stop();
  return {
    stop,
    show: (progress) => {
      if (progress.phase !== phase) {
        stop();
        phase = progress.phase;
        const format = `${TITLES[phase]} {bar} {percentage} % | {value} of {total}`;
        bar = new SingleBar({ format, stream, hideCursor: false }, Presets.shades_classic);
        bar.start(progress.total, progress.done);
      } else bar?.update(progress.done);
    },
  };
}

/** Between two lines, in percent. */
const STEPS = { check: 10, rows: 10, checkpoint: 50 } as const;

function progressLines(stream: NodeJS.WriteStream): ProgressDisplay {
  let next = 0;
  let phase: LoadProgress["phase"] | undefined;
  return {
    stop: () => undefined,
    show: (progress) => {
      const step = STEPS[progress.phase];
      if (progress.phase !== phase) next = step;
      phase = progress.phase;
      const percent = progress.total === 0 ? 100 : (progress.done / progress.total) * 100;
      if (percent < next) return;
      stream.write(`${TITLES[phase]}: ${Math.floor(percent)} % of ${progress.total}\n`);
      next = (Math.floor(percent / step) + 1) * step;
    },
  };
}
