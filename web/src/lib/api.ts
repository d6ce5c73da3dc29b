// Calls to the hub, typed by its OpenAPI. Errors are what the hub says of them.
import type { components } from './api.gen';
import { taken } from './early';

type Schemas = components['schemas'];
export type Session = Schemas['SessionView'];
export type LinkView = Schemas['LinkView'];
export type Hub = Schemas['HubView'];
export type Node = Schemas['NodeView'];
export type LabelledNode = Schemas['LabelledNode'];
export type Observed = Schemas['ObservedStack'];
export type Drift = Schemas['DriftView'];
export type Stack = Schemas['StackView'];
/** A ledger entry, with names where the hub gives them. */
export type Entry = Schemas['LedgerEntry'] & { node_name?: string | null; conversation_title?: string | null };
export type Hello = Schemas['EventsHello'];
export type NodesChanged = Schemas['NodesChanged'];
export type FleetHealth = Schemas['FleetHealth'];
export type Agents = Schemas['AgentsView'];
export type AgentBuild = Schemas['AgentBuild'];
export type AgentUpdate = Schemas['AgentUpdate'];
export type DatabaseState = Schemas['DatabaseState'];
export type Touched = Schemas['Touched'];
export type Overview = Schemas['Overview'];
export type Attention = Schemas['Attention'];
export type Rollout = Schemas['RolloutView'];
export type FailurePattern = Schemas['FailurePattern'];
export type Decisions = Schemas['RolloutDecisions'];
export type Stop = Schemas['EmergencyStopView'];
export type Graph = Schemas['Graph'];
export type GraphItem = Schemas['GraphItem'];
export type GraphKind = Schemas['GraphKind'];
export type Bucket = Schemas['Bucket'];
export type SearchHit = Schemas['SearchHit'];
export type SearchHits = Schemas['SearchHits'];
export type Diff = Schemas['Diff'];
export type UndoScope = Schemas['UndoScope'];
export type Conversation = Schemas['ConversationView'];
export type ConversationDetail = Schemas['ConversationDetail'];
export type Deployment = Schemas['DeploymentView'];
export type DeploymentDetail = Schemas['DeploymentDetail'];
export type Undo = Schemas['Undo'];
export type UndoPlan = Schemas['UndoPlan'];
export type Selector = Schemas['UndoSelector'];
export type Repository = Schemas['Repository'];
export type FileDiff = Schemas['FileDiff'];
export type NodeRows = Schemas['NodeRows'];
export type InventoryNode = Schemas['InventoryNode'];
export type NodeRow = Schemas['NodeRow'];
export type JoinToken = Schemas['JoinToken'];
export type StackDetail = Schemas['StackDetail'];
export type StackRelease = Schemas['StackRelease'];
export type ReleaseDetail = Schemas['ReleaseDetail'];
export type ReleaseFile = Schemas['ReleaseFile'];
export type Release = Schemas['Release'];
export type Constraint = Schemas['Constraint'];
export type Branch = Schemas['BranchView'];
export type Window = Schemas['WindowView'];
export type Environment = Schemas['EnvironmentView'];
export type EnvironmentStack = Schemas['EnvironmentStackView'];
export type Change = Schemas['Change'];
export type Talk = Schemas['Conversation'];
export type Container = Schemas['Container'];
export type StepRecord = Schemas['StepRecord'];
export type LogLine = Schemas['LogLine'];
export type Why = Schemas['Why'];
export type WhyFile = Schemas['WhyFile'];
export type Related = Schemas['Related'];
export type RepositoryCheck = Schemas['RepositoryCheck'];
export type Token = Schemas['Token'];
export type CreatedToken = Schemas['CreatedToken'];
export type User = Schemas['User'];
export type CreatedUser = Schemas['CreatedUser'];
export type CreatedLink = Schemas['CreatedLink'];
export type Webhook = Schemas['Webhook'];
export type WebhookTest = Schemas['WebhookTest'];
export type Delivery = Schemas['Delivery'];
export type ConflictedFile = Schemas['ConflictedFile'];
export type Backups = Omit<Schemas['BackupsView'], 'running'> & { running: BackupJob[] };
export type BackupSettings = Schemas['BackupSettingsView'];
export type BackupStatus = Omit<Schemas['BackupStatus'], 'job'> & { job?: BackupJob | null };
export type BackupHealth = Schemas['BackupHealth'];
type JobFacts = Pick<Schemas['BackupJobView'], 'id' | 'node' | 'node_name' | 'state' | 'by' | 'asked_at' | 'started_at' | 'lease_until' | 'ended_at' | 'cancelled_by' | 'progress' | 'result'>;
/** A job. Its tasks are named here: a tag beside a reference is lost on the way from OpenAPI. */
export type BackupJob = JobFacts & (
  | ({ task: 'save' } & Schemas['SaveWork']) | ({ task: 'restore' } & Schemas['RestoreWork']) | ({ task: 'drill' } & Schemas['DrillWork'])
  | { task: 'verify'; snapshots: string[] } | { task: 'check'; read?: [number, number] | null } | { task: 'prune'; dry_run: boolean }
  | { task: 'files'; snapshot: string; path: string; recursive: boolean }
);
export type Proof = Schemas['Proof'];
export type DrillReport = Schemas['DrillReport'];
export type StackBackups = Schemas['StackBackups'];
export type Snapshot = Schemas['SnapshotView'];
export type SnapshotFile = Schemas['FileEntry'];
export type SnapshotFiles = Schemas['SnapshotFiles'];
export type PruneView = Omit<Schemas['PruneView'], 'job'> & { job: BackupJob };
export type RestoreView = Omit<Schemas['RestoreView'], 'job'> & { job?: BackupJob | null };
export type RestoreRequest = Schemas['RestoreRequest'];
export type RecoveryKey = Schemas['RecoveryKeyView'];
export type Migration = Schemas['MigrationView'];
export type MigrationPlan = Schemas['MigrationPlan'];
export type MigrationRequest = Partial<Schemas['MigrationRequest']>;
export type MigrationStep = Schemas['MigrationStep'];
export type Passage = Schemas['Passage'];
export type ItemCheck = Schemas['ItemCheck'];
export interface Page<T> { items: T[]; next?: string | null }

/** What the hub said no with, or that it could not be reached. */
export class Problem extends Error {
  constructor(readonly status: number, readonly code: string, detail: string, readonly hint: string | null) {
    super(detail);
  }
}

type Query = Record<string, string | number | boolean | null | undefined>;

async function call<T>(method: string, path: string, query: Query, body: unknown, signal?: AbortSignal): Promise<T> {
  const url = new URL(path, location.origin);
  for (const [key, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') url.searchParams.set(key, String(value));
  }
  const init: RequestInit = { method, credentials: 'same-origin', signal: signal ?? null };
  if (body instanceof Blob) {
    init.body = body;
    init.headers = { 'content-type': 'application/octet-stream' };
  } else if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { 'content-type': 'application/json' };
  }
  let response: Response;
  try {
    const early = method === 'GET' && url.search === '' ? taken(path) : undefined;
    response = await (early ?? fetch(url, init));
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, '', 'The hub cannot be reached.', 'What runs keeps running. This page tries again by itself.');
  }
  if (method === 'GET' && response.ok) noteAge(path, response);
  const text = await response.text();
  const json: unknown = text === '' ? {} : parse(text);
  if (response.ok) return json as T;
  const said = json as { code?: string; detail?: string; hint?: string };
  if (response.status === 401) window.dispatchEvent(new Event('signed-out'));
  throw new Problem(response.status, said.code ?? '', said.detail ?? `status ${response.status}`, said.hint ?? null);
}

/** Of when the oldest of the answers is that a view is made of, while the hub repeats what it said before because its
 * database is away. */
let oldest: string | null = null;
let view = '';

/** Of when what is shown is; nothing while it is new. Events `as-of` tell when that changes. */
export const asOf = (): string | null => oldest;

function noteAge(path: string, response: Response): void {
  const age = response.headers.get('backstay-as-of');
  const shown = path !== '/api/v1/session';
  const fresh = shown && view !== location.hash;
  if (shown) view = location.hash;
  const next = age === null || oldest === null || fresh ? age : shown && age < oldest ? age : oldest;
  if (next === oldest) return;
  oldest = next;
  window.dispatchEvent(new Event('as-of'));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

export const get = <T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> =>
  call<T>('GET', path, query, undefined, signal);
export const post = <T>(path: string, body: unknown = {}, signal?: AbortSignal): Promise<T> =>
  call<T>('POST', path, {}, body, signal);
/** Sends a file as it is. */
export const upload = <T>(path: string, query: Query, file: Blob): Promise<T> => call<T>('POST', path, query, file);
export const remove = <T>(path: string): Promise<T> => call<T>('DELETE', path, {}, undefined);
