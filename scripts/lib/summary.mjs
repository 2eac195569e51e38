// Counting what test runners report. A runner that failed without naming a failed test counts as one failure.

/** The counts of `cargo test`, from its `test result:` lines (one a crate and one a crate's doc tests). */
export function cargoCounts(stdout, code) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const [, passed, failed, ignored] of stdout.matchAll(
    /^test result: \S+\. (\d+) passed; (\d+) failed; (\d+) ignored;/gm,
  )) {
    counts.passed += Number(passed);
    counts.failed += Number(failed);
    counts.skipped += Number(ignored);
  }
  if (code !== 0 && counts.failed === 0) counts.failed = 1;
  return counts;
}

/** Adds counts up. */
export function total(all) {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (const counts of all) for (const key of Object.keys(sum)) sum[key] += counts[key];
  return sum;
}

export const line = ({ passed, failed, skipped }) => `${passed} passed, ${failed} failed, ${skipped} skipped`;
