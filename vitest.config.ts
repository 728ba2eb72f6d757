// `npm test`: everything that needs Node alone. Browser, package and long tests have configs of their own.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/browser/**", "test/package/**", "test/long/**", "node_modules", "dist"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
