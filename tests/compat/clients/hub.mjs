// Upload two files and read them back with @huggingface/hub: hub.mjs REPO
import { createRequire } from "node:module";

const require = createRequire(process.env.CLIENT_MODULES + "/");
const hub = require("@huggingface/hub");

const repo = process.argv[2];
const common = { hubUrl: process.env.HF_ENDPOINT, accessToken: process.env.HF_TOKEN };
const weights = new Uint8Array(300_000).map((_, n) => (n * 7) % 251);

await hub.createRepo({ ...common, repo });
const commit = await hub.uploadFiles({
  ...common,
  repo,
  useXet: false,
  files: [
    { path: "config.json", content: new Blob(['{"model_type":"tiny"}']) },
    { path: "model.safetensors", content: new Blob([weights]) },
  ],
});
const read = async (path, more = {}) => {
  const blob = await hub.downloadFile({ ...common, repo, path, xet: false, ...more });
  return blob && Buffer.from(await blob.arrayBuffer());
};
const listed = [];
for await (const file of hub.listFiles({ ...common, repo, recursive: true })) listed.push(file.path);
const info = await hub.modelInfo({ ...common, name: repo, additionalFields: ["sha"] });

console.log(
  JSON.stringify({
    commit: commit.commit.oid,
    config: (await read("config.json")).toString(),
    same: Buffer.from(weights).equals(await read("model.safetensors")),
    part: (await (await hub.downloadFile({ ...common, repo, path: "model.safetensors", xet: false })).slice(10, 20).arrayBuffer()).byteLength,
    absent: await read("absent.bin"),
    exists: await hub.fileExists({ ...common, repo, path: "config.json" }),
    listed: listed.sort(),
    sha: info.sha,
  }),
);
