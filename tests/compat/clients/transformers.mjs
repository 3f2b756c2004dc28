// Look a sentence up with @huggingface/transformers: transformers.mjs REPO [REVISION]
import { createRequire } from "node:module";

const require = createRequire(process.env.CLIENT_MODULES + "/");
const { AutoModel, AutoTokenizer, env } = require("@huggingface/transformers");

const [repo, revision = "main"] = process.argv.slice(2);
env.remoteHost = process.env.HF_ENDPOINT;
env.cacheDir = process.env.HF_HOME + "/js";
env.allowLocalModels = false;

const tokenizer = await AutoTokenizer.from_pretrained(repo, { revision });
const model = await AutoModel.from_pretrained(repo, { revision, dtype: "fp32" });
const batch = await tokenizer("the hub serves a small model");
const { last_hidden_state: rows } = await model(batch);
console.log(
  JSON.stringify({
    tokens: Array.from(batch.input_ids.data, Number),
    dims: rows.dims,
    values: Array.from(rows.data),
  }),
);
