#!/usr/bin/env node
/** The entry point of `koala`. */
import { errorCode } from '../errors.ts';
import { runCli } from './cli.ts';

// `koala sessions list REC | head` closes our output early: that is no failure.
process.stdout.on('error', (error) => {
  process.exit(errorCode(error) === 'EPIPE' ? 0 : 2);
});

process.exitCode = await runCli(process.argv.slice(2));
