/**
 * What pi lacks for a session that somebody else watches: asking before it changes things, telling
 * what it does, and reporting on a goal. Loaded with `pi -e pi-bullpen.ts`; needs nothing but Node.
 *
 * Asking. `BULLPEN_MODE` (or the command `/bullpen-mode MODE`) is one of
 *   plan    write, edit and their like are refused; everything else that may change things is asked
 *   ask     everything but reading is asked about (also when the mode is missing or unknown)
 *   edit    write and edit are free below the working directory, but for what lies in a `.git` or
 *           `.pi` folder; everything else that may change things is asked about
 *   bypass  nothing is asked
 * Reading is `read`, `grep`, `find` and `ls` as pi brings them; a tool of that name that another
 * extension brought is asked about like any other. The question is a `select`: over RPC its title
 * is `bullpen-permission ` and a JSON object {call, tool, input, paths, cwd}, its answers are
 * `allow`, `always`, and `reject` or `reject: WHY`. Whatever else comes back, or nothing, refuses.
 * The status `bullpen-mode` always tells the mode in force.
 *
 * Telling. With `BULLPEN_SIGNALS` set, one JSON object a line is appended to that file. Each has
 * `event` and `at` (milliseconds since the epoch):
 *   session_start      session, file, cwd, mode, model
 *   input              text, source (`interactive`, `rpc`, `extension`); what somebody typed
 *   agent_start        a run begins
 *   tool_start         call, tool
 *   tool_end           call, tool, error (boolean)
 *   permission_asked   call, tool, input, paths
 *   permission_answered  call, tool, allowed (boolean), reason
 *   ask_start, ask_end   kind, title: any question on the screen, of every extension
 *   agent_end          stop, error: how the last answer ended; a retry may still follow
 *   agent_settled      stop, error: the same, and nothing follows by itself
 *   session_shutdown
 * `stop` is pi's word: stop, length, toolUse, error, aborted.
 *
 * Goals. With `BULLPEN_SOCKET` and `BULLPEN_SESSION` set there is a tool `goal_update(status,
 * note)`: POST /v1/sessions/SESSION/goal/report on that unix socket, body {status, note}.
 */

import { appendFileSync, realpathSync } from "node:fs";
import { request } from "node:http";
import { homedir } from "node:os";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const MODES = ["plan", "ask", "edit", "bypass"];
const READS = new Set(["read", "grep", "find", "ls"]);
const EDITS = new Set(["write", "edit"]);
const OURS = new Set(["goal_update"]);
const SPACES = /[\u00A0\u2000-\u200A\u202F\u205F\u3000]/g;
const SIGNALS = process.env.BULLPEN_SIGNALS || "";

function known(mode: string | undefined): string {
  return MODES.includes(mode ?? "") ? (mode as string) : "ask";
}

function signal(event: string, fields: Record<string, unknown> = {}): void {
  if (!SIGNALS) return;
  try {
    appendFileSync(SIGNALS, JSON.stringify({ event, at: Date.now(), ...fields }) + "\n");
  } catch {
    // Whoever reads it is gone; the agent works on.
  }
}

/** The file pi means by a path of its model. */
function meant(path: string, cwd: string): string {
  let plain = path.replace(SPACES, " ");
  if (plain.startsWith("@")) plain = plain.slice(1);
  if (plain === "~") return homedir();
  if (plain.startsWith("~/")) return join(homedir(), plain.slice(2));
  if (plain.startsWith("file://")) plain = fileURLToPath(plain);
  return resolve(cwd, plain);
}

function pathsOf(input: any, cwd: string): string[] {
  const found = [input?.path, input?.file_path].filter((one) => typeof one === "string");
  return found.map((one) => meant(one, cwd));
}

/** A path without symbolic links, as far as it exists. */
function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    const above = dirname(path);
    return above === path ? path : join(real(above), basename(path));
  }
}

/** Whether a file may be changed where edits are free. What git and pi run by themselves may not. */
function isFree(path: string, cwd: string): boolean {
  const parts = relative(real(cwd), real(path)).split(sep);
  if (parts[0] === ".." || resolve(cwd, path) === resolve(cwd)) return false;
  return !parts.some((part) => [".git", ".pi"].includes(part.toLowerCase()));
}

function howItEnded(messages: any[] | undefined): { stop?: string; error?: string } {
  const last = [...(messages ?? [])].reverse().find((one) => one?.role === "assistant");
  return last ? { stop: last.stopReason, error: last.errorMessage } : {};
}

function report(socketPath: string, session: string, body: unknown): Promise<string> {
  const path = `/v1/sessions/${encodeURIComponent(session)}/goal/report`;
  const headers = { "content-type": "application/json", host: "bullpen" };
  return new Promise((done, fail) => {
    const call = request({ socketPath, path, method: "POST", headers }, (answer) => {
      let text = "";
      answer.setEncoding("utf8");
      answer.on("data", (piece) => (text += piece));
      answer.on("end", () => {
        const status = answer.statusCode ?? 0;
        if (status >= 200 && status < 300) done("The goal is now reported.");
        else fail(new Error(`the report was refused (${status}): ${text.slice(0, 300)}`));
      });
    });
    call.setTimeout(10_000, () => call.destroy(new Error("nobody answered the report")));
    call.on("error", fail);
    call.end(JSON.stringify(body));
  });
}

export default function (pi: any) {
  let mode = known(process.env.BULLPEN_MODE);
  let always = new Set<string>();
  let last: { stop?: string; error?: string } = {};

  function showMode(ctx: any): void {
    ctx.ui?.setStatus?.("bullpen-mode", mode);
  }

  function isBuiltin(tool: string): boolean {
    const found = pi.getAllTools?.().find((one: any) => one.name === tool);
    return found?.sourceInfo?.source === "builtin";
  }

  /** What becomes of a call: true is free, a text refuses, undefined has to be asked. */
  function ruled(tool: string, key: string, paths: string[], cwd: string) {
    if (mode === "bypass" || OURS.has(tool)) return true;
    const builtin = isBuiltin(tool);
    if (READS.has(tool) && builtin) return true;
    if (mode === "plan" && EDITS.has(tool)) {
      return "This session only plans: nothing may be changed. Say what you would do instead.";
    }
    const isPlain = EDITS.has(tool) && builtin && paths.length === 1;
    if (mode === "edit" && isPlain && isFree(paths[0], cwd)) return true;
    return always.has(key) ? true : undefined;
  }

  async function ask(event: any, ctx: any, paths: string[]): Promise<string | undefined> {
    const options = ["allow", "always", "reject"];
    const dialog = { signal: ctx.signal };
    if (ctx.mode === "rpc") {
      const { toolCallId: call, toolName: tool, input } = event;
      const asked = JSON.stringify({ call, tool, input, paths, cwd: ctx.cwd });
      return await ctx.ui.select(`bullpen-permission ${asked}`, options, dialog);
    }
    const what = event.input?.command ?? paths[0] ?? JSON.stringify(event.input);
    return await ctx.ui.select(`Allow ${event.toolName}?\n\n  ${what}`, options, dialog);
  }

  pi.on("tool_call", async (event: any, ctx: any) => {
    const tool = String(event.toolName);
    const isShell = typeof event.input?.command === "string";
    const key = isShell ? `${tool} ${event.input.command}` : tool;
    const paths = pathsOf(event.input, ctx.cwd);
    const rule = ruled(tool, key, paths, ctx.cwd);
    if (rule === true) return undefined;
    if (rule !== undefined) return { block: true, reason: rule };
    if (!ctx.hasUI) return { block: true, reason: "Refused: there is nobody to ask." };
    const { toolCallId: call, input } = event;
    const asked = JSON.stringify(input);
    signal("permission_asked", { call, tool, input, paths });
    const answer = await ask(event, ctx, paths);
    const isSame = JSON.stringify(event.input) === asked;
    const allowed = isSame && (answer === "allow" || answer === "always");
    const why = /^reject:\s*(.+)$/s.exec(answer ?? "")?.[1];
    const reason = why ?? (answer === undefined ? "Nobody gave leave." : "The user refused this.");
    signal("permission_answered", { call, tool, allowed, reason: allowed ? "" : reason });
    if (!allowed) return { block: true, reason };
    if (answer === "always") always.add(key);
    return undefined;
  });

  pi.registerCommand("bullpen-mode", {
    description: "How much pi may do without asking: plan, ask, edit or bypass",
    handler: async (words: string, ctx: any) => {
      const wanted = words.trim();
      if (!MODES.includes(wanted)) throw new Error(`there is no mode ${JSON.stringify(wanted)}`);
      mode = wanted;
      always = new Set();
      showMode(ctx);
    },
  });

  pi.on("session_start", async (_event: any, ctx: any) => {
    showMode(ctx);
    const manager = ctx.sessionManager;
    signal("session_start", {
      session: manager?.getSessionId?.(),
      file: manager?.getSessionFile?.(),
      cwd: ctx.cwd,
      mode,
      model: ctx.model ? `${ctx.model.provider}/${ctx.model.id}` : undefined,
    });
  });

  pi.on("input", async (event: any) => {
    signal("input", { text: event.text, source: event.source });
  });
  pi.on("agent_start", async () => {
    last = {};
    signal("agent_start");
  });
  pi.on("agent_end", async (event: any) => {
    last = howItEnded(event.messages);
    signal("agent_end", last);
  });
  pi.on("agent_settled", async () => signal("agent_settled", last));
  pi.on("session_shutdown", async () => signal("session_shutdown"));
  pi.on("tool_execution_start", async (event: any) => {
    signal("tool_start", { call: event.toolCallId, tool: event.toolName });
  });
  pi.on("tool_execution_end", async (event: any) => {
    const { toolCallId: call, toolName: tool } = event;
    signal("tool_end", { call, tool, error: Boolean(event.isError) });
  });
  pi.on("ui_prompt_start", async (event: any) => {
    signal("ask_start", { kind: event.kind, title: event.title });
  });
  pi.on("ui_prompt_end", async (event: any) => {
    signal("ask_end", { kind: event.kind, title: event.title });
  });

  const socket = process.env.BULLPEN_SOCKET;
  const session = process.env.BULLPEN_SESSION;
  if (socket && session) {
    pi.registerTool({
      name: "goal_update",
      label: "Goal",
      description:
        "Report on the goal of this session: `complete` when it is reached and you checked it, " +
        "`blocked` when you cannot go on without help, `active` to note progress.",
      parameters: {
        type: "object",
        properties: {
          status: { type: "string", enum: ["active", "complete", "blocked"] },
          note: { type: "string", description: "One or two sentences: what was done, or what is missing" },
        },
        required: ["status", "note"],
      },
      execute: async (_call: string, given: any) => {
        const said = await report(socket, session, { status: given.status, note: given.note });
        return { content: [{ type: "text", text: said }], details: undefined };
      },
    });
  }
}
