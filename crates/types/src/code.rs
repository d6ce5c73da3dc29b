//! Stable error codes. Each has a page in `docs/errors/`; a code is never reused.
//!
//! Ranges: 1 content of repositories, 2 Git, 3 agent and deployments, 4 API,
//! 5 undo, 6 webhooks, 7 hub, settings and store, 8 command line, 9 backups, 0 telemetry.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($code:ident $status:literal $title:literal;)*) => {
        /// A stable error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum ErrorCode {
            $(#[doc = $title] $code,)*
        }

        impl ErrorCode {
            /// Every code there is.
            pub const ALL: &[Self] = &[$(Self::$code,)*];

            /// The code as text, such as `BS4001`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => stringify!($code),)* }
            }

            /// What it means in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)* }
            }

            /// The HTTP status that the API answers with. Codes of the command line never reach it: theirs only
            /// tells misuse (400) from failure (500).
            pub const fn status(self) -> u16 {
                match self { $(Self::$code => $status,)* }
            }
        }
    };
}

codes! {
    BS1001 422 "A file is not valid TOML";
    BS1002 422 "A key that nothing reads";
    BS1003 422 "A value is of the wrong type";
    BS1004 422 "A value makes no sense";
    BS1005 422 "A key is missing";
    BS1006 422 "A label selector cannot be read";
    BS1007 422 "The manifest needs a newer Backstay";
    BS1008 422 "The repository holds no stack";
    BS1009 422 "There is no such stack in the repository";
    BS1010 422 "A folder's name cannot be a stack's name";
    BS1011 422 "Two folders give the same stack";
    BS1012 422 "A line of an environment template cannot be read";
    BS1013 422 "The node lacks a value that the stack needs";
    BS1014 422 "A file is missing or cannot be read";
    BS1015 422 "A file is not text, or is too large";
    BS1016 422 "A path or mode is not allowed in a release";
    BS1017 422 "A name is used twice";
    BS1018 422 "The parts of a stack do not fit together";
    BS1019 422 "A part cannot be reloaded";
    BS1101 422 "A Compose file is not valid YAML";
    BS1102 422 "A Compose file has the wrong shape";
    BS1103 422 "A file from Git is mounted writable";
    BS1104 422 "A path leaves the stack's folder";
    BS1105 422 "Included Compose files are not supported";
    BS1106 422 "A variable reference cannot be resolved";
    BS1201 422 "A tracked file looks as if it held a secret";
    BS1202 422 "An image is named by a tag that moves";
    BS1203 422 "A selector matches no node";
    BS1204 422 "A stack is assigned to no node";
    BS1205 422 "Nothing says whether a stack is healthy";
    BS1206 422 "A program is missing or not executable";
    BS1207 422 "A pin or a freeze has run out";
    BS1208 422 "A window does not fit the plan";
    BS1209 422 "A part's channel counts for nothing";
    BS2001 502 "No address of the repository could be reached";
    BS2002 404 "The repository or its branch is not there";
    BS2003 403 "Git refused access";
    BS2004 422 "The address or branch of a repository is not allowed";
    BS2005 422 "Git refused what the repository sent";
    BS2006 500 "The mirror of a repository is damaged or cannot be written";
    BS2007 404 "The commit is not in the mirror";
    BS2008 404 "There is no such file at this commit";
    BS2009 422 "A path, link or submodule is not allowed in a release";
    BS2010 413 "A file or a release is too large";
    BS2011 504 "Git took too long";
    BS2012 503 "The mirror is busy";
    BS2013 500 "Git itself is missing or failed";
    BS2014 422 "The resolution of a conflict cannot be used";
    BS3001 500 "There is too little free disk space for the release";
    BS3002 500 "The release could not be had from hub or Git";
    BS3003 500 "The release is not what was signed";
    BS3004 500 "The node lacks values that the release needs";
    BS3005 500 "The release's own check refused it";
    BS3006 500 "The release cannot run on this node";
    BS3007 500 "The runtime is not there or does not answer";
    BS3008 500 "The release did not start";
    BS3009 500 "The release is not healthy";
    BS3010 500 "Another agent uses the same data folder";
    BS3011 500 "The agent's files cannot be used";
    BS3012 500 "The agent's journal cannot be used";
    BS3013 500 "This machine has joined no hub, or has joined one already";
    BS3014 500 "The join token does not fit the hub";
    BS3015 500 "The agent cannot go on";
    BS3016 500 "The bundle is damaged";
    BS3017 500 "The bundle is not for this node, or not by its hub";
    BS3018 500 "The bundle is older than what the node holds";
    BS3019 500 "A preflight refused the release";
    BS3020 500 "The release could not be reloaded";
    BS4001 400 "The request is malformed";
    BS4002 401 "Not signed in, or the token is not known";
    BS4003 403 "Not allowed";
    BS4004 404 "There is no such thing";
    BS4005 409 "It conflicts with the present state";
    BS4006 413 "The request is too large";
    BS4007 422 "A value is out of range or of the wrong form";
    BS4008 429 "Too many requests";
    BS4009 504 "The node did not answer in time";
    BS4010 410 "The join token is used, expired or unknown";
    BS4011 421 "The hub does not answer under this host name";
    BS4012 405 "The path does not take this method";
    BS4013 415 "The body is not of the expected type";
    BS4014 408 "The request took too long to arrive";
    BS4015 401 "The name or password is not right";
    BS4016 403 "The request came from another site";
    BS4017 410 "The link is used, expired or unknown";
    BS4018 422 "The password cannot be used";
    BS4019 422 "The branch cannot be followed as it is";
    BS5001 409 "The undo selects nothing, or not exactly";
    BS5002 422 "The undo would leave a repository that is not valid";
    BS5003 409 "The undo goes back to what is banned";
    BS6001 401 "The webhook's signature or token is not right";
    BS6002 401 "A header that proves the sender is missing or malformed";
    BS6003 401 "The webhook was signed too long ago";
    BS6004 503 "No secret is set up for this webhook";
    BS7001 500 "Something inside the hub failed";
    BS7002 503 "The database cannot be reached";
    BS7003 500 "The settings are wrong";
    BS7004 500 "Another hub uses the same data folder";
    BS7005 500 "The hub's data folder or keys cannot be used";
    BS7006 500 "The hub cannot listen on its address";
    BS7007 503 "The hub is stopping";
    BS7008 504 "The hub took too long";
    BS8001 500 "The hub cannot be reached";
    BS8002 400 "No token for the hub was found";
    BS8003 400 "An argument cannot be understood";
    BS8004 500 "A file cannot be read or written";
    BS8005 500 "A program that is needed is missing or failed";
    BS8006 500 "The ledger does not verify";
    BS8007 500 "The repository has problems";
    BS8008 500 "The demonstration saw something other than it promised";
    BS8009 500 "It took longer than allowed";
    BS8010 400 "A yes is needed, and there is nobody to ask";
    BS8011 500 "Settings of a tool cannot be changed safely";
    BS8012 400 "The id fits nothing, or more than one thing";
    BS8013 500 "The hub's answer cannot be understood";
    BS8014 500 "The undo waits until conflicts are resolved";
    BS8015 500 "The undo could not be finished";
    BS8016 500 "This machine's hub or agent could not be started";
    BS9001 404 "There is no backup repository";
    BS9002 403 "The password does not open the backup repository";
    BS9003 504 "The backup target does not answer";
    BS9004 403 "The backup target refuses";
    BS9005 507 "The backup target or this disk is full";
    BS9006 500 "Something that was to be saved could not be read";
    BS9007 500 "The backup repository is damaged";
    BS9008 404 "There is no such snapshot";
    BS9011 409 "Backups are not set up at the hub";
    BS9012 503 "The repository is not ready yet";
    BS9013 403 "A repository only takes new files";
    BS9014 422 "The file is not what its name says";
    BS9015 507 "The backup target is full";
    BS9016 502 "The backup target cannot be used";
    BS9017 409 "There is no proven snapshot";
    BS9018 409 "The recovery key is missing or another one";
    BS9019 500 "The hub could not be restored";
    BS9021 422 "What a stack has saved does not fit the stack";
    BS9022 422 "Data is saved in a way that a restore cannot rely on";
    BS9023 500 "Data could not be made ready to be saved";
    BS9024 500 "A snapshot could not be made";
    BS9025 500 "A deployment had to have a snapshot and could have none";
    BS9026 500 "Data could not be put back";
    BS9031 500 "A drill failed: the snapshot may not bring the stack back";
    BS9032 507 "There is no room for a drill";
    BS9033 500 "A drill cannot start the stack";
    BS9034 409 "A drill was put off";
    BS9041 409 "There is no data that an undo could go back to";
    BS9042 409 "Other stacks use the data that would go back";
    BS9043 409 "Older data could make a validator sign twice";
    BS9044 500 "Data could not be put in place with a release";
    BS9051 403 "Another node's backups may not be read";
    BS9052 409 "The stack must not run twice";
    BS9053 409 "The stack does not run on that node";
    BS9054 409 "The stack cannot be moved to that node";
    BS9055 500 "A stack could not be saved before it moves away";
    BS9056 409 "It is not known whether the node that a stack leaves is gone";
    BS9057 409 "The migration cannot be changed any more";
    BS9061 422 "Stacks use the same data, and none of them says so";
    BS9071 409 "The backup target is not the one that the hub knows";
    BS0031 503 "Telemetry cannot be taken at the moment";
    BS0032 503 "The hub keeps no telemetry";
    BS0033 400 "What was sent is not the telemetry that it says it is";
    BS0034 400 "Some samples were refused";
    BS0035 429 "A sender of logs brings too much at once";
    BS0036 400 "Some lines of logs were refused";
    BS0037 503 "A search of logs took too long";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
