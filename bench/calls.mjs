// What a captured call and a start cost; README.md says how it is measured.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from '../scripts/build.mjs';
import { root } from '../scripts/lib/root.mjs';
import { Failure, findCommand, main } from '../scripts/lib/run.mjs';

const median = (values) => {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2;
};

/** Runs a command, bare or recorded; what it prints. */
function run(folder, command, koala) {
  const recording = join(folder, 'recording');
  const [program, ...args] = koala
    ? [process.execPath, join(root, 'dist/cli/main.js'), 'record', '--to', recording, '--', ...command]
    : command;
  try {
    return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } finally {
    rmSync(recording, { recursive: true, force: true });
  }
}

/** The figures of `pairs` runs of each kind, in turn: a map from a name to the bare and the recorded ones. */
function compare(pairs, measure) {
  const found = new Map();
  for (let pair = 0; pair < pairs; pair += 1) {
    for (const kind of pair % 2 === 0 ? ['bare', 'koala'] : ['koala', 'bare']) {
      for (const [name, value] of measure(kind === 'koala')) {
        if (!found.has(name)) found.set(name, { bare: [], koala: [] });
        found.get(name)[kind].push(value);
      }
    }
  }
  return found;
}

/** `copy`: of what is added, so much is that of a copy of the bytes. */
function row(name, { bare, koala }, unit, share, copy = []) {
  const differences = koala.map((value, index) => (value - bare[index]) / share);
  const range = `${Math.min(...differences).toFixed(0)} to ${Math.max(...differences).toFixed(0)}`;
  const figures = [median(bare), median(koala), median(differences)].map((value) => value.toFixed(0));
  const rest = copy.length > 0 ? median(differences) - median(copy) / share : undefined;
  const copies = rest === undefined ? ['', ''] : [(median(copy) / share).toFixed(0), rest.toFixed(0)];
  return `| ${[name, ...figures, range, ...copies, unit].join(' | ')} |`;
}

await main(async (args) => {
  const { values } = parseArgs({
    args,
    options: {
      pairs: { type: 'string', default: '9' },
      rounds: { type: 'string', default: '200' },
      'no-build': { type: 'boolean', default: false },
    },
  });
  if (!findCommand('gcc')) throw new Failure('the benchmark needs gcc (npm run install-servers)');
  if (!values['no-build']) await build();
  const pairs = Number(values.pairs);
  const folder = mkdtempSync(join(tmpdir(), 'koala-bench-'));
  try {
    const compiled = (name) => {
      execFileSync('gcc', ['-O2', '-o', join(folder, name), join(root, 'bench', `${name}.c`)]);
      return join(folder, name);
    };
    // On one processor, so that the scheduler moves it in neither kind of run.
    const pinned = findCommand('taskset') ? ['taskset', '-c', '0'] : [];
    const calls = [...pinned, compiled('calls')];
    const lines = [
      '| what | bare | recorded | added | in the pairs | a copy | beyond it | |',
      '| --- | ---: | ---: | ---: | --- | ---: | ---: | --- |',
    ];
    const copies = new Map();
    const times = compare(pairs, (koala) =>
      run(folder, calls, koala)
        .trim()
        .split('\n')
        .map((line) => {
          const [size, both, copy] = line.split(' ').map(Number);
          copies.set(size, [...(copies.get(size) ?? []), copy]);
          return [size, both];
        }),
    );
    for (const [size, kinds] of times) {
      lines.push(row(`send and recv of ${size} bytes; added: by call`, kinds, 'ns', 2, copies.get(size)));
    }
    const start = compiled('start');
    for (const command of [['true'], ['ls', '/'], ['sh', '-c', 'true']]) {
      const kinds = compare(pairs, (koala) => [
        ['start', Number(run(folder, [start, values.rounds, ...command], koala))],
      ]).get('start');
      lines.push(row(`\`${command.join(' ')}\``, kinds, 'µs', 1));
    }
    console.log(lines.join('\n'));
    return 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
