// A schedule as data and as text: `o` is the owner, `a`, `b` … the backends; `a17` is seventeen
// steps of a, `b` means until b stops by itself, `a3!` that a is dead after three, `a0!` that it
// dies where it sleeps.

/** Until the fiber stops by itself. */
export const TO_THE_END = -1;

/** A stretch of steps of one fiber. */
export interface Segment {
  readonly fiber: number;
  /** Steps, or TO_THE_END. */
  readonly steps: number;
  /** It is dead after them. */
  readonly dies: boolean;
}

/** A schedule that failed. */
export class ScheduleError extends Error {
  readonly schedule: string;
  readonly reason: string;

  constructor(reason: string, schedule: string, cause?: unknown) {
    super(`${reason}\nschedule: ${schedule}`, { cause });
    this.reason = reason;
    this.schedule = schedule;
  }
}

/** `o` is the owner, `a`, `b` … the backends. */
export function nameOf(fiber: number): string {
  return fiber === 0 ? "o" : String.fromCharCode("a".charCodeAt(0) + fiber - 1);
}

export function scheduleText(segments: readonly Segment[]): string {
  const word = ({ fiber, steps, dies }: Segment): string =>
    `${nameOf(fiber)}${steps === TO_THE_END ? "" : steps}${dies ? "!" : ""}`;
  return segments.map(word).join(" ");
}

/** The segments of a schedule's text. */
export function parseSchedule(text: string): Segment[] {
  return text
    .trim()
    .split(/\s+/)
    .filter((word) => word !== "")
    .map((word) => {
      const [, name = "", steps = "", dies] = /^([a-z])(\d*)(!?)$/.exec(word) ?? [];
      if (name === "") throw new SyntaxError(`"${word}" is no part of a schedule`);
      const fiber = name === "o" ? 0 : name.charCodeAt(0) - "a".charCodeAt(0) + 1;
      return {
        fiber,
        steps: steps === "" ? TO_THE_END : Number(steps),
        dies: dies === "!",
      };
    });
}
