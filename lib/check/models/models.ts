/** PURE. The models by name. */

import { bankModel } from "./bank.ts";
import { kvModel } from "./kv.ts";
import type { Model } from "./model.ts";
import { queueModel } from "./queue.ts";
import { registerModel } from "./register.ts";

export const MODEL_NAMES = ["register", "kv", "queue", "bank"] as const;

export type ModelName = (typeof MODEL_NAMES)[number];

/** A fresh model. What a state is, only the model itself knows. */
export function modelNamed(name: ModelName): Model<unknown> {
  const models: { readonly [Name in ModelName]: () => unknown } = {
    register: () => registerModel,
    kv: () => kvModel,
    queue: queueModel,
    bank: () => bankModel,
  };
  return models[name]() as Model<unknown>;
}
