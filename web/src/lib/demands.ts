// What has to be said in so many words before an undo takes data back, and how a request says it.
import type { UndoPlan } from './api';

export type Demand = NonNullable<UndoPlan['demands']>[number];

export const key = (one: Demand): string => `${one.demand} ${one.say}`;

/** What was said of these, as a request has it. */
export function words(demands: Demand[], said: Record<string, string>): { without_data: string[]; shared_data: string[]; confirm: string[] } {
  const of = (demand: Demand['demand']) => demands.filter((one) => one.demand === demand && said[key(one)]?.trim() === one.say).map((one) => one.say);
  return { without_data: of('without_data'), shared_data: of('shared_data'), confirm: of('double_sign') };
}

/** How many were not said yet. */
export const unsaid = (demands: Demand[], said: Record<string, string>): number =>
  demands.length - Object.values(words(demands, said)).flat().length;
