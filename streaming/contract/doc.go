// Package contract has what agents say that they read and write, and checks
// whether it fits together: that each message has a reader which can read it,
// and each reader a sender.
//
// A contract is a plain value with a JSON form, which is kept beside the agent
// as contract.json, and an Avro form, which workers publish in the topic of
// agents. Nothing here is asked while messages flow.
package contract
