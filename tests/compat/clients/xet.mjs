// One file by Xet: xet.mjs up REPO PATH FILE, or xet.mjs down REPO PATH; prints the SHA-256 of what came down.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(process.env.CLIENT_MODULES + "/");
const hub = require("@huggingface/hub");

const [action, repo, path, file] = process.argv.slice(2);
const common = { hubUrl: process.env.HF_ENDPOINT, accessToken: process.env.HF_TOKEN, repo };

if (action === "up") {
  if (!(await hub.repoExists(common))) await hub.createRepo(common);
  await hub.uploadFile({ ...common, useXet: true, file: { path, content: new Blob([readFileSync(file)]) } });
  console.log(JSON.stringify(path));
} else {
  const blob = await hub.downloadFile({ ...common, path, xet: true });
  console.log(JSON.stringify(createHash("sha256").update(Buffer.from(await blob.arrayBuffer())).digest("hex")));
}
