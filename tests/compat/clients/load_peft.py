"""Load an adapter on its base, by the names in the hub: load_peft.py ADAPTER."""

import sys

from answers import answer, weights
from peft import AutoPeftModelForCausalLM, get_peft_model_state_dict

model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1])
base = {
    name.replace(".base_layer", ""): tensor for name, tensor in model.get_base_model().state_dict().items()
}
base = {name: tensor for name, tensor in base.items() if "lora_" not in name}
answer(adapter=weights(get_peft_model_state_dict(model)), base=weights(base))
