/** Which rows a command line means. */

/**
 * The rows a user means: `6` is every row with that number, `6.hit-vs-string-key` exactly one.
 * Empty if there is none.
 */
export function selectRows<R extends { readonly id: string }>(
  all: readonly R[],
  wanted: string,
): R[] {
  return all.filter(({ id }) => id === wanted || id.slice(0, id.indexOf(".")) === wanted);
}
