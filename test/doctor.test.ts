// `koala doctor` says of any command whether it can be covered, and is right: what it refuses records nothing.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { koala } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { temporaryFolder } from './support/system.ts';

const skip = lacking('gcc');

interface Diagnosis {
  Healthy: boolean;
  Findings: { Name: string; State: string; Detail: string; Remedy: string }[];
}

async function doctor(t: TestContext, ...command: string[]): Promise<{ code: number; said: Diagnosis }> {
  const ended = await koala(t, ['doctor', '--json', ...(command.length > 0 ? ['--', ...command] : [])]);
  assert.equal(ended.stderr, '');
  return { code: ended.code ?? -1, said: JSON.parse(ended.stdout) as Diagnosis };
}

async function built(t: TestContext, name: string, ...flags: string[]): Promise<string> {
  const folder = await temporaryFolder(t);
  const path = join(folder, name);
  await writeFile(`${path}.c`, 'int main(void) { return 0; }\n');
  execFileSync('gcc', [...flags, '-o', path, `${path}.c`], { stdio: 'ignore' });
  return path;
}

test('the machine and programs that can be covered', async (t) => {
  const machine = await doctor(t);
  assert.equal(machine.code, 0, JSON.stringify(machine.said));
  assert.deepEqual(
    machine.said.Findings.map(({ Name, State }) => [Name, State]),
    [
      ['platform', 'ok'],
      ['binaries', 'ok'],
      ['recording', 'ok'],
    ],
  );
  for (const program of ['sh', process.execPath]) {
    const { code, said } = await doctor(t, program, '--its', 'own', '--help');
    assert.equal(code, 0, JSON.stringify(said));
    assert.match(said.Findings.at(-1)?.Detail ?? '', /can be covered/);
  }
});

test('a static program cannot be covered', { skip }, async (t) => {
  const { code, said } = await doctor(t, await built(t, 'static', '-static'));
  assert.equal(code, 1);
  assert.equal(said.Healthy, false);
  const found = said.Findings.at(-1);
  assert.equal(found?.State, 'problem');
  assert.match(found?.Detail ?? '', /statically linked/);
  assert.match(found?.Remedy ?? '', /link it dynamically/);
});

test('a program with a sanitizer is covered in the way that is told', { skip }, async (t) => {
  const runtime = execFileSync('gcc', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
  if (!runtime.startsWith('/')) {
    t.skip('gcc has no libasan here');
    return;
  }
  const path = await built(t, 'sanitized', '-fsanitize=address');
  const { code, said } = await doctor(t, path);
  assert.equal(code, 1);
  assert.match(said.Findings.at(-1)?.Remedy ?? '', /LD_PRELOAD=\$\(gcc -print-file-name=libasan\.so\)/);
  const to = join(await temporaryFolder(t), 'recording');
  const refused = await koala(t, ['record', '--to', to, '--', path]);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /sanitizer, whose runtime must be loaded first/);
  const heeded = await koala(t, ['record', '--to', to, '--', path], { LD_PRELOAD: runtime });
  assert.equal(heeded.code, 0, heeded.stderr);
});

// A shell asks for it in a child that shares its memory, Python's `os.posix_spawn` not.
for (const [way, run] of [
  ['a shell', (path: string): string[] => ['/bin/sh', '-c', `${path}; true`]],
  [
    'Python',
    (path: string): string[] => [
      '/usr/bin/python3',
      '-c',
      `import os; os.waitpid(os.posix_spawn('${path}', ['it'], dict(os.environ)), 0)`,
    ],
  ],
] as const) {
  test(`what ${way} runs and can't be covered is told of`, { skip: lacking('gcc', 'python3') }, async (t) => {
    const runtime = execFileSync('gcc', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
    const programs = [{ path: await built(t, 'static', '-static'), why: 'it is statically linked' }];
    if (runtime.startsWith('/'))
      programs.push({
        path: await built(t, 'sanitized', '-fsanitize=address'),
        why: 'built with a sanitizer',
      });
    for (const { path, why } of programs) {
      const to = join(await temporaryFolder(t), 'recording');
      const command = run(path);
      const { code, stderr } = await koala(t, ['record', '--to', to, '--', ...command]);
      assert.equal(code, 0, stderr);
      assert.match(stderr, new RegExp(`NOT COVERED: ${path}: .*${why}`));
      // The sanitizer's own complaint would be here: the program was not harmed.
      assert.doesNotMatch(stderr, /==\d+==/);
    }
  });
}

test('a sanitizer that a shell preloads stays first', { skip }, async (t) => {
  const runtime = execFileSync('gcc', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
  if (!runtime.startsWith('/')) {
    t.skip('gcc has no libasan here');
    return;
  }
  const path = await built(t, 'sanitized', '-fsanitize=address');
  const to = join(await temporaryFolder(t), 'recording');
  const script = `LD_PRELOAD=${runtime} ${path} && echo ran`;
  const ended = await koala(t, ['record', '--to', to, '--', '/bin/sh', '-c', script]);
  assert.equal(ended.stdout, 'ran\n', ended.stderr);
  assert.doesNotMatch(ended.stderr, /NOT COVERED/);
});

test('what is missing is named', async (t) => {
  const { code, said } = await doctor(t, 'no-such-command');
  assert.equal(code, 1);
  assert.match(said.Findings.at(-1)?.Detail ?? '', /command not found/);
  const ended = await koala(t, ['doctor'], { KOALA_NATIVE_DIR: '/nonexistent' });
  assert.equal(ended.code, 1);
  assert.match(ended.stdout, /^problem {2}binaries {3}koala-agent is not in \/nonexistent/m);
});
