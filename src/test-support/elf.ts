/** Executables for unit tests. Never part of the build. */

/** A 64-bit ELF of this processor with one program header, of this type. */
export function elf(type: number): Buffer {
  const content = Buffer.alloc(64 + 56);
  content.write('\u007fELF', 'latin1');
  content[4] = 2;
  content[5] = 1;
  content.writeUInt16LE(process.arch === 'arm64' ? 183 : 62, 18);
  content.writeBigUInt64LE(64n, 32);
  content.writeUInt16LE(56, 54);
  content.writeUInt16LE(1, 56);
  content.writeUInt32LE(type, 64);
  return content;
}
