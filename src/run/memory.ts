/**
 * What an agent has in memory that must outlive it: the event log, which the program writes to, and the journal. Whoever
 * has a descriptor of both can start an agent that goes on with them.
 */
import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';

/** Descriptors of this process. */
export interface AgentMemory {
  eventLog: number;
  journal: number;
}

const NAMES = { eventLog: 'memfd:koala-events', journal: 'memfd:koala-journal' };

/** Opens the memory of the agent with this process id; undefined where it has none to go on with, or may not be seen. */
export function openMemory(pid: number): AgentMemory | undefined {
  const found: Partial<AgentMemory> = {};
  try {
    const directory = `/proc/${pid}/fd`;
    for (const fd of readdirSync(directory)) {
      const target = readlinkSync(`${directory}/${fd}`);
      for (const part of ['eventLog', 'journal'] as const)
        if (target.startsWith(`/${NAMES[part]}`)) found[part] ??= openSync(`${directory}/${fd}`, 'r+');
    }
  } catch {
    // A descriptor that is closed again, or /proc is not to be read.
  }
  const { eventLog, journal } = found;
  if (eventLog !== undefined && journal !== undefined) return { eventLog, journal };
  for (const fd of [eventLog, journal]) if (fd !== undefined) closeSync(fd);
  return undefined;
}

/** Lets it go. */
export function closeMemory(memory: AgentMemory | undefined): void {
  for (const fd of [memory?.eventLog, memory?.journal]) if (fd !== undefined) closeSync(fd);
}
