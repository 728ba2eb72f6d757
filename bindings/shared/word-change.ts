/**
 * Awaiting a word of the region without keeping the process alive.
 */

/** Where the engine has no Atomics.waitAsync, a word is looked at this often. */
const POLL_MS = 20;

type WaitAsync = (
  words: Int32Array,
  index: number,
  value: number,
  timeout: number,
) => { readonly value: unknown };

/** Resolves when the word no longer has the value that was seen; perhaps earlier. @internal */
export async function changed(
  words: Int32Array,
  index: number,
  seen: number,
  longest: number = Number.POSITIVE_INFINITY,
): Promise<void> {
  const { waitAsync } = Atomics as unknown as { readonly waitAsync?: WaitAsync };
  if (waitAsync === undefined) {
    await new Promise<void>((resolve) => {
      const timer: unknown = setTimeout(resolve, POLL_MS);
      (timer as { unref?(): void }).unref?.();
    });
  } else {
    await waitAsync(words, index, seen, longest).value;
  }
}
