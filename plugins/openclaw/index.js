// The entry that OpenClaw loads. Everything else runs and is tested without OpenClaw.
import { definePluginEntry } from "openclaw/plugin-sdk/plugin-entry";

import { entry } from "./src/entry.js";

export default definePluginEntry(entry);
