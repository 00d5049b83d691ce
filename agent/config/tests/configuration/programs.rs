//! Programs that a configuration names: how they are written, as whom they run, and FIFOs.

use xvrrp_config::{CheckKind, CommandLine, NotifyFifo, Obstacle, Occasion, Program, unusable_programs};

use super::{parse, router_with, user, words};

#[test]
fn programs_that_are_named_without_a_path_are_looked_up() {
    let script = |script: &str| format!("[[check]]\nname = \"c\"\nscript = {script}\n");
    let found = |value: &str| {
        let mut config = parse(&(script(value) + &router_with("track = [\"c\"]")));
        config.find_programs(|name| (name == "killall").then(|| "/usr/bin/killall".into()));
        let CheckKind::Script(program) = &config.checks[0].kind else { panic!("{config:?}") };
        program.command.clone()
    };
    assert_eq!(found("[\"killall\", \"-0\", \"nginx\"]"), words(&["/usr/bin/killall", "-0", "nginx"]));
    assert_eq!(found("[\"pidof\", \"nginx\"]"), words(&["pidof", "nginx"]));
    assert_eq!(found("[\"/bin/killall\"]"), words(&["/bin/killall"]));
    assert_eq!(found("\"killall -0 nginx\""), CommandLine::Shell("killall -0 nginx".into()));
}

#[test]
fn programs_run_as_their_own_user_or_else_as_the_script_user() {
    let agent = "[agent]\nscript_user = \"nobody:nogroup\"\nscript_security = true\n";
    let check = "[[check]]\nname = \"c\"\nscript = [\"true\"]\nuser = \"root\"\n";
    let lines = "track = [\"c\"]\nnotify = \"/etc/notify\"\nnotify_stop = { run = [\"stop\"], user = \"joe:adm\" }";
    let config = parse(&format!("{agent}{check}{}", router_with(lines)));
    assert_eq!(config.agent.script_user, Some((user("nobody", Some("nogroup")), 2)));
    assert!(config.agent.script_security);
    let CheckKind::Script(script) = &config.checks[0].kind else { panic!("{config:?}") };
    assert_eq!(script.user, Some(user("root", None)));
    let [stop, any] = &config.virtual_routers[0].notify.programs[..] else { panic!("{config:?}") };
    assert_eq!(stop.program, Program { command: words(&["stop"]), user: Some(user("joe", Some("adm"))) });
    assert_eq!(any.program.user, config.agent.script_user.map(|(user, _)| user));
}

#[test]
fn fifos_are_paths_or_tables_and_one_of_them_needs_no_list() {
    let fifos = |value: &str| {
        let agent = format!("[agent]\nscript_user = \"nobody\"\nnotify_fifo = {value}\n");
        parse(&(agent + &router_with("notify_priority_changes = true"))).agent.notify_fifos
    };
    let fifo = |path: &str| {
        let (path, owner) = (path.into(), Some(user("nobody", None)));
        NotifyFifo { path, owner, reader: None, states_on_reload: false, line: 3 }
    };
    assert_eq!(fifos("\"/run/a\""), [fifo("/run/a")]);
    assert_eq!(fifos("[\"/run/a\", { path = \"/run/b\" }]"), [fifo("/run/a"), fifo("/run/b")]);
    let reader = Program { command: words(&["/etc/reader", "x"]), user: Some(user("root", None)) };
    let table = "{ path = \"/run/a\", owner = \"root:adm\", run = [\"/etc/reader\", \"x\"], user = \"root\", \
                 states_on_reload = true }";
    let owner = Some(user("root", Some("adm")));
    let full = NotifyFifo { owner, reader: Some(reader), states_on_reload: true, ..fifo("/run/a") };
    assert_eq!(fifos(table), [full]);
}

#[test]
fn the_removal_of_a_virtual_router_is_notified_as_such_with_or_without_a_program() {
    for (lines, deleted, programs) in [
        ("", false, 0),
        ("notify_deleted = false", false, 0),
        ("notify_deleted = true", true, 0),
        ("notify_deleted = [\"/etc/xvrrp/notify\", \"deleted\"]", true, 1),
        ("notify_deleted = { run = \"/etc/xvrrp/notify deleted\" }", true, 1),
    ] {
        let notify = &parse(&router_with(lines)).virtual_routers[0].notify;
        assert_eq!((notify.deleted, notify.programs.len()), (deleted, programs), "{lines}");
        assert!(notify.programs.iter().all(|notified| notified.on == Occasion::Deleted));
    }
}

#[test]
fn a_command_for_the_shell_gets_keepaliveds_arguments_behind_its_text() {
    let command = CommandLine::Shell("/etc/notify a && logger".into());
    assert_eq!(command.words(&["INSTANCE", "lan"]), ["/bin/sh", "-c", "/etc/notify a && logger INSTANCE lan"]);
    let command = CommandLine::Shell("/etc/reader".into());
    assert_eq!(command.words(&["/run/it's a fifo"])[2], "/etc/reader '/run/it'\\''s a fifo'");
    assert_eq!(words(&["/etc/notify", "a"]).words(&["INSTANCE", "lan"]), ["/etc/notify", "a", "INSTANCE", "lan"]);
}

#[test]
fn the_program_at_the_beginning_of_a_command_for_the_shell_is_recognized_by_its_path() {
    for (command, program) in [
        ("/etc/notify a", Some("/etc/notify")),
        (" /etc/notify", Some("/etc/notify")),
        ("killall -0 nginx", None),
        ("/etc/a;/etc/b", None),
        ("\"/etc/a b\"", None),
        ("</dev/tcp/127.0.0.1/80", None),
    ] {
        assert_eq!(CommandLine::Shell(command.into()).program(), program, "{command}");
    }
}

#[test]
fn a_program_that_its_user_may_not_run_is_a_warning_and_each_user_is_asked_for_once() {
    let check = "[[check]]\nname = \"c\"\nscript = [\"/opt/check\"]\nuser = \"joe\"\n";
    let lines = "track = [\"c\"]\nnotify = [\"/opt/notify\"]\nnotify_stop = \"/opt/notify && true\"\n\
                 notify_fault = { run = [\"/opt/notify\"], user = \"joe\" }\nnotify_backup = \"killall -0 x\"";
    let config = parse(&format!("{check}{}", router_with(lines)));
    let asked = std::cell::RefCell::new(Vec::new());
    let warnings = unusable_programs(&config, |user, programs| {
        let programs: Vec<_> = programs.iter().map(|program| (*program).to_owned()).collect();
        asked.borrow_mut().push((user.cloned(), programs.clone()));
        Some(match user {
            None => vec![Some(Obstacle::Read)],
            Some(_) => programs.iter().map(|it| (it == "/opt/check").then_some(Obstacle::Execute)).collect(),
        })
    });
    let joe = Some(user("joe", None));
    let expected =
        [(joe, vec!["/opt/check".to_owned(), "/opt/notify".to_owned()]), (None, vec!["/opt/notify".to_owned()])];
    assert_eq!(asked.into_inner(), expected);
    let shown = |place: &str, key: &str, who: &str, what: &str, program: &str| {
        format!(
            "{place}: {key}: {who}, with the capabilities that it has here, may not {what} \"{program}\", so it always \
             fails; change the permissions of the file and its directories, or look for limits of the service"
        )
    };
    let router = &config.virtual_routers[0].name;
    let place = format!("virtual_router \"{router}\"");
    let expected = [
        shown("check \"c\"", "script", "the user \"joe\"", "execute", "/opt/check"),
        shown(&place, "notify", "the agent's user", "read", "/opt/notify"),
        shown(&place, "notify_stop", "the agent's user", "read", "/opt/notify"),
    ];
    let told: Vec<&str> = warnings.iter().map(|warning| warning.splitn(3, ':').nth(2).unwrap().trim_start()).collect();
    assert_eq!(told, expected);
    assert_eq!(unusable_programs(&config, |_, _| None), [""; 0]);
}
