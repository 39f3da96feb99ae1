/**
 * A checker that tries every order, with nothing remembered and nothing left out: slow, and simple
 * enough to be believed.
 */

import type { Operation } from "../../lib/check/history.ts";
import { type ModelName, modelNamed } from "../../lib/check/models/models.ts";

export function hasAnOrder(operations: readonly Operation[], modelName: ModelName): boolean {
  const model = modelNamed(modelName);
  const parts = Map.groupBy(operations, (operation) => model.partOf(operation));
  return [...parts.values()].every((part) => {
    const steps = part.flatMap((operation) => {
      const action = model.actionOf(operation);
      return action === null ? [] : [{ operation, action }];
    });
    const search = (left: typeof steps, state: unknown): boolean => {
      const returns = left.map(({ operation }) => operation.returnedAt ?? Infinity);
      const earliest = Math.min(...returns, Infinity);
      if (earliest === Infinity) return true;
      return left.some((step) => {
        if (step.operation.calledAt > earliest) return false;
        const next = step.action.step(state);
        return next !== null && search(left.filter((other) => other !== step), next);
      });
    };
    return search(steps, model.initial);
  });
}
