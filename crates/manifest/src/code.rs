//! The codes of problems, by what they are used for.

use backstay_types::ErrorCode;

/// A file is not TOML.
pub const TOML_SYNTAX: ErrorCode = ErrorCode::BS1001;
/// A key that nothing reads.
pub const UNKNOWN_KEY: ErrorCode = ErrorCode::BS1002;
/// A value of another type than expected.
pub const WRONG_TYPE: ErrorCode = ErrorCode::BS1003;
/// A value of the right type that makes no sense.
pub const WRONG_VALUE: ErrorCode = ErrorCode::BS1004;
/// A key that must be there is not.
pub const MISSING_KEY: ErrorCode = ErrorCode::BS1005;
/// A label selector that cannot be read.
pub const BAD_SELECTOR: ErrorCode = ErrorCode::BS1006;
/// A manifest newer than this build.
pub const SCHEMA_TOO_NEW: ErrorCode = ErrorCode::BS1007;
/// The repository holds no stack. Never taken to mean that stacks were removed.
pub const NO_STACKS: ErrorCode = ErrorCode::BS1008;
/// An assignment or pin names a stack that is not there.
pub const UNKNOWN_STACK: ErrorCode = ErrorCode::BS1009;
/// A folder's name cannot be a stack's name.
pub const BAD_STACK_NAME: ErrorCode = ErrorCode::BS1010;
/// Two folders give the same stack.
pub const DUPLICATE_STACK: ErrorCode = ErrorCode::BS1011;
/// A line of `.env.template` that cannot be read.
pub const ENV_SYNTAX: ErrorCode = ErrorCode::BS1012;
/// Values that a template needs were not given.
pub const MISSING_VALUE: ErrorCode = ErrorCode::BS1013;
/// A file that a manifest names is not there or cannot be read.
pub const MISSING_FILE: ErrorCode = ErrorCode::BS1014;
/// A file that must be text is not UTF-8, or is too large.
pub const NOT_TEXT: ErrorCode = ErrorCode::BS1015;
/// A path or mode that a release cannot hold (links, submodules, odd names).
pub const BAD_PATH: ErrorCode = ErrorCode::BS1016;
/// The same thing is named twice.
pub const DUPLICATE_NAME: ErrorCode = ErrorCode::BS1017;
/// Parts of a stack that overlap, or that name each other wrongly.
pub const BAD_PARTS: ErrorCode = ErrorCode::BS1018;
/// A part that is reloaded holds what can only be changed by a start.
pub const PART_NOT_RELOADABLE: ErrorCode = ErrorCode::BS1019;
/// What a stack has saved does not fit the stack.
pub const BAD_BACKUP: ErrorCode = ErrorCode::BS9021;
/// Data is saved in a way that a restore cannot rely on.
pub const UNSAFE_BACKUP: ErrorCode = ErrorCode::BS9022;
/// Stacks use the same data, and none of them says so.
pub const SHARED_DATA: ErrorCode = ErrorCode::BS9061;
/// A Compose file is not YAML.
pub const YAML_SYNTAX: ErrorCode = ErrorCode::BS1101;
/// A Compose file has another shape than Compose expects.
pub const COMPOSE_SHAPE: ErrorCode = ErrorCode::BS1102;
/// A file from Git is mounted writable.
pub const WRITABLE_TRACKED: ErrorCode = ErrorCode::BS1103;
/// A relative path leaves the stack's folder.
pub const OUTSIDE_STACK: ErrorCode = ErrorCode::BS1104;
/// `include`, or `extends` from another file, which cannot be followed.
pub const INCLUDED_FILE: ErrorCode = ErrorCode::BS1105;
/// A `${VARIABLE}` that cannot be read, or is required and not set.
pub const INTERPOLATION: ErrorCode = ErrorCode::BS1106;
/// A tracked file looks as if it held a real secret.
pub const SECRET_IN_GIT: ErrorCode = ErrorCode::BS1201;
/// An image by a tag that moves.
pub const FLOATING_IMAGE: ErrorCode = ErrorCode::BS1202;
/// A selector that matches no node.
pub const SELECTOR_MATCHES_NOTHING: ErrorCode = ErrorCode::BS1203;
/// A stack that no node is assigned.
pub const UNASSIGNED_STACK: ErrorCode = ErrorCode::BS1204;
/// A stack without anything that says whether it is healthy.
pub const NO_PROBE: ErrorCode = ErrorCode::BS1205;
/// A program in the stack's folder that is not there or not executable.
pub const NOT_EXECUTABLE: ErrorCode = ErrorCode::BS1206;
/// A pin or freeze whose time is over.
pub const RUN_OUT: ErrorCode = ErrorCode::BS1207;
/// A window that never opens, or in which nothing comes to its end.
pub const WINDOW_DOES_NOT_FIT: ErrorCode = ErrorCode::BS1208;
/// A part names a channel where stacks go through environments as a whole.
pub const CHANNEL_OF_NO_USE: ErrorCode = ErrorCode::BS1209;
