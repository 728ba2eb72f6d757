// What a checked build does when something that can never be false is false.
//
// Use: `if (CHECKING) invariant(condition, CODE);` always behind the guard, so that release builds
// carry neither the call nor the loads that feed it. The code is a PANIC_ constant; TypeScript
// turns it into a CorruptionError, which nobody in this library catches.

import { panic } from "./host";

export function invariant(condition: bool, code: i32): void {
  if (condition) return;
  panic(code);
}
