// Spools events until it is killed, and says each one's number once it is kept.
import { Spool } from "../src/spool.js";

const spool = new Spool(process.argv[2], { maxBytes: 1e9 });
for (let n = 0; ; n++) {
  await spool.add({ n, text: "x".repeat(5000) });
  process.stdout.write(`${n}\n`);
}
