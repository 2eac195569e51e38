// A reporter for node's test runner: the counts as JSON, with the reason of every skipped test. Suites are not tests.
export default async function* countReporter(source) {
  const counts = { passed: 0, failed: 0, skipped: 0, skips: [] };
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    if (data.details?.type === 'suite') {
      // A suite that failed because of its tests is counted by them; a hook or a file that failed is not.
      if (type === 'test:fail' && data.details.error?.failureType !== 'subtestsFailed') counts.failed += 1;
      continue;
    }
    if (data.skip !== undefined || data.todo !== undefined) {
      counts.skipped += 1;
      counts.skips.push({ name: data.name, reason: typeof data.skip === 'string' ? data.skip : '' });
    } else if (type === 'test:pass') counts.passed += 1;
    else counts.failed += 1;
  }
  yield JSON.stringify(counts);
}
