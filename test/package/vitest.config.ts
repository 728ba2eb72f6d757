// `npm run test:package`: the packed tarball, installed where a user would install it.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/package/**/*.test.ts"],
    testTimeout: 120_000,
    hookTimeout: 180_000,
  },
});
