// Read a header by ranges with @huggingface/gguf: gguf.mjs REPO PATH
import { createRequire } from "node:module";

const require = createRequire(process.env.CLIENT_MODULES + "/");
const { gguf } = require("@huggingface/gguf");

const [repo, path] = process.argv.slice(2);
const { metadata } = await gguf(`${process.env.HF_ENDPOINT}/${repo}/resolve/main/${path}`);
console.log(JSON.stringify({ name: metadata["general.name"], version: metadata.version }));
