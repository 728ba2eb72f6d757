/**
 * What gives up a promise form, declared structurally, so that the published types compile without
 * the DOM library and without Node's types, where TypeScript keeps `AbortSignal`.
 */

/** Tells that its work is no longer wanted; an `AbortSignal` fits. */
export interface CancelSignal {
  readonly aborted: boolean;
  /** Why; becomes the `cause` of the error. */
  readonly reason: unknown;
  addEventListener(
    type: "abort",
    listener: () => void,
    options?: { readonly once?: boolean },
  ): void;
  removeEventListener(type: "abort", listener: () => void): void;
}
