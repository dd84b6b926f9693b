//! A PKCS #11 token that nobody's maker vouches for: enrolled as what it is, certified under `lab`, refused elsewhere.

use crate::lifecycle::open_authority;
use crate::token_side::TokenSide;

#[test]
fn a_token_is_enrolled_as_a_hosts_and_certified_where_that_counts() {
    let token = TokenSide::start();
    for (policy, accepted) in [("lab", true), ("csbr-code-signing", false)] {
        let authority = open_authority(policy);
        let run = |arguments: &[&str]| token.run_with(&authority, arguments);
        let bare = run(&["enroll", "ak", "--device", "hsm-1", "--state", "enroll"]);
        assert!(bare.is_usage_error() && bare.stderr.contains("--evidence"), "{bare:?}");
        let enrolled = run(&["enroll", "ak", "--device", "hsm-1", "--method", "first-use", "--state", "enroll"]);
        assert_eq!(enrolled.code, 0, "{enrolled:?}");
        let renewed = run(&["enroll", "renewal", "--device", "hsm-1"]);
        assert_eq!(renewed.code, 0, "{renewed:?}");
        let name = format!("key-{policy}");
        let out = format!("{name}.pem");
        let made = run(&[
            "enroll",
            "key",
            &name,
            "--mechanism",
            "pkix-evidence",
            "--platform",
            "--out",
            &out,
            "--state",
            "enroll",
        ]);
        assert_eq!(made.code, i32::from(!accepted), "{policy}: {made:?}");
        if !accepted {
            for said in ["policy.environment", "software beside the module can", "policy.bootstrap"] {
                let text = made.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(text.contains(said), "{said}: {text}");
            }
        }
    }
}
