// Reads what a 64-bit little-endian ELF shared object says about its dependencies, so that the checks need no binutils.
const dynamicTags = {
  needed: 1,
  stringTable: 5,
  symbolTable: 6,
  textRelocations: 22,
  initArray: 25,
  flags: 30,
};
const versionNeeds = 0x6ffffffe;
const staticTls = 0x10;

/** `needed`, `imports` and `exports` by name, whether symbols of a certain version are asked for, and so on. */
export function readElf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u64 = (offset) => Number(view.getBigUint64(offset, true));
  if (view.getUint32(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1)
    throw new Error('not a 64-bit ELF file');

  const sections = [];
  const sectionSize = view.getUint16(0x3a, true);
  for (let i = 0; i < view.getUint16(0x3c, true); i += 1) {
    const at = u64(0x28) + i * sectionSize;
    sections.push({
      type: view.getUint32(at + 4, true),
      offset: u64(at + 0x18),
      size: u64(at + 0x20),
      link: view.getUint32(at + 0x28, true),
    });
  }
  const nameIn = (section, offset) => {
    const start = section.offset + offset;
    return bytes.subarray(start, bytes.indexOf(0, start)).toString('latin1');
  };

  const dynamic = sections.find(({ type }) => type === 6);
  const entries = [];
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += 16) {
    const tag = u64(at);
    if (tag === 0) break;
    entries.push({ tag, value: u64(at + 8) });
  }
  const names = sections[dynamic.link];

  const symbols = sections.find(({ type }) => type === 11);
  const imports = [];
  const exports = [];
  for (let at = symbols.offset + 24; at < symbols.offset + symbols.size; at += 24) {
    const name = nameIn(sections[symbols.link], view.getUint32(at, true));
    (view.getUint16(at + 6, true) === 0 ? imports : exports).push(name);
  }

  const stack = [];
  const headerSize = view.getUint16(0x36, true);
  for (let i = 0; i < view.getUint16(0x38, true); i += 1) {
    const at = u64(0x20) + i * headerSize;
    if (view.getUint32(at, true) === 0x6474e551) stack.push(view.getUint32(at + 4, true));
  }

  const has = (tag) => entries.some((entry) => entry.tag === tag);
  return {
    needed: entries.filter(({ tag }) => tag === dynamicTags.needed).map(({ value }) => nameIn(names, value)),
    imports,
    exports,
    wantsVersions: has(versionNeeds),
    textRelocations: has(dynamicTags.textRelocations),
    staticTls: entries.some(({ tag, value }) => tag === dynamicTags.flags && (value & staticTls) !== 0),
    executableStack: stack.some((flags) => (flags & 1) !== 0),
  };
}
