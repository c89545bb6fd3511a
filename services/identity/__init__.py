"""identity: stations, the people who log in, what they are in which station, and the tokens that say so.

Does    makes stations, takes them out of use and back, deletes them softly; makes users, keeps them out
        and lets them in; makes memberships; checks passwords; signs access tokens.
Owns    the schema `identity`; the types identity.Station and identity.User.
Calls   nobody; all other services follow its feed.
Read    domain, then usecases, then store; wire and rpc are the way in, passwords and keys the cryptography.
"""
