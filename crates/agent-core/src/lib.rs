//! Sans-IO agent: events in, actions and deadlines out.
