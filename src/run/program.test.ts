import assert from 'node:assert/strict';
import { test } from 'node:test';
import { coveredEnvironment, shellExitCode } from './program.ts';

test('exit codes as a shell gives them', () => {
  assert.equal(shellExitCode({ code: 7, signal: null }), 7);
  assert.equal(shellExitCode({ code: null, signal: 'SIGTERM' }), 143);
  assert.equal(shellExitCode({ code: null, signal: 'SIGKILL' }), 137);
});

test('what was preloaded stays preloaded', () => {
  const runtime = {
    path: '/r',
    library: '/r/libkoala.so',
    controlSocket: '',
    token: '',
    remove: async () => undefined,
  };
  const options = {
    path: '',
    command: [],
    mode: 'record',
    runtime,
    stdio: 'inherit',
    ownGroup: false,
  } as const;
  const alone = coveredEnvironment({ ...options, env: { A: '1' } });
  assert.deepEqual(alone, {
    A: '1',
    LD_PRELOAD: '/r/libkoala.so',
    KOALA_MODE: 'record',
    KOALA_RUNTIME_DIR: '/r',
    KOALA_TOKEN: '',
    KOALA_LINEAGE: undefined,
    KOALA_RECORD_TO_DIR: undefined,
  });
  const others = coveredEnvironment({ ...options, env: { LD_PRELOAD: 'jemalloc.so' } });
  assert.equal(others['LD_PRELOAD'], '/r/libkoala.so:jemalloc.so');
});
